/* The verifier of evidence bundles; see bundle.h. */
#include "core/bundle.h"

#include "core/canon.h"
#include "core/canoncheck.h"

enum							/* what has been read */
{
	STAGE_NOTHING, STAGE_MANIFEST, STAGE_CHECKPOINT, STAGE_EVENTS, STAGE_END
};

static bool
fail(AtpBundleVerifier *v, AtpVerdictCode code, const char *what)
{
	if (v->what == NULL)
	{
		v->code = code;
		v->what = what;
		v->fault_line = v->lines;
	}
	return false;
}

static bool
fail_leaf(AtpBundleVerifier *v, AtpVerdictCode code, const char *what, uint64_t leaf)
{
	if (v->what == NULL)
	{
		v->has_fault_leaf = true;
		v->fault_leaf = leaf;
	}
	return fail(v, code, what);
}

#define HASH_FAILED "SHA-256 failed in OpenSSL"
#define NO_MEMORY "no memory"

void
atp_bundle_begin(AtpBundleVerifier *v, AtpGrow grow, void *context)
{
	memset(v, 0, sizeof(*v));
	atp_buf_init(&v->strings, grow, context);
	atp_buf_init(&v->kept, grow, context);
	atp_buf_init(&v->scratch, grow, context);
	atp_buf_init(&v->links, grow, context);
	atp_buf_init(&v->links_spare, grow, context);
	v->code = ATP_BUNDLE_OK;
	v->links_classes = 1;
}

/* ---- keys ---- */

bool
atp_bundle_trust(AtpBundleVerifier *v, const char *vkey, size_t size, bool witness)
{
	AtpTrustedKey *key = &v->keys[v->key_count];

	if (v->key_count == ATP_BUNDLE_KEYS_MAX)
		return false;
	memset(key, 0, sizeof(*key));
	key->witness = witness;
	key->state = 'a';
	if (!atp_vkey_parse(vkey, size, &key->vkey))
	{
		key->cosigner = witness && atp_vkey_parse_witness(vkey, size, &key->vkey);
		if (!key->cosigner)
			return false;
	}
	v->key_count++;
	return true;
}

static AtpTrustedKey *
find_key(AtpBundleVerifier *v, const AtpVkey *vkey)
{
	for (int i = 0; i < v->key_count; i++)
		if (memcmp(v->keys[i].vkey.public_key, vkey->public_key, ATP_SIGN_KEY_SIZE) == 0 &&
			v->keys[i].vkey.key_id == vkey->key_id && v->keys[i].vkey.name.size == vkey->name.size &&
			memcmp(v->keys[i].vkey.name.data, vkey->name.data, vkey->name.size) == 0)
			return &v->keys[i];
	return NULL;
}

/* Whether the endorsement is a note about this key by a key that is trusted. */
static bool
is_endorsed(AtpBundleVerifier *v, const AtpBundleKey *line)
{
	static const char head[] = "atp/key/v1\n";
	size_t		size = sizeof(head) - 1;

	if (line->endorsement.size == 0 || !atp_note_parse(line->endorsement.data, line->endorsement.size, &v->note) ||
		v->note.text.size != size + line->vkey.size + 1 || memcmp(v->note.text.data, head, size) != 0 ||
		memcmp(v->note.text.data + size, line->vkey.data, line->vkey.size) != 0)
		return false;
	for (int i = 0; i < v->key_count; i++)
		if (!v->keys[i].witness && v->keys[i].state != 'c' && atp_note_verify(&v->note, &v->keys[i].vkey) == ATP_NOTE_VERIFIED)
			return true;
	return false;
}

/*
 * What the bundle says of keys can take trust from a pinned key, and gives it to no other unless one that is trusted has
 * endorsed it.
 */
static bool
take_key(AtpBundleVerifier *v, const AtpBundleKey *line)
{
	AtpVkey		vkey;
	AtpTrustedKey *key;

	if (v->stage != STAGE_MANIFEST)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "a key line stands behind the checkpoint");
	if (!atp_vkey_parse(line->vkey.data, line->vkey.size, &vkey) &&
		!(line->witness && atp_vkey_parse_witness(line->vkey.data, line->vkey.size, &vkey)))
		return fail(v, ATP_BUNDLE_BAD_INPUT, "a key line holds no verifier key");
	key = find_key(v, &vkey);
	if (key == NULL)
	{
		if (line->witness || !is_endorsed(v, line))
			return true;
		if (v->key_count == ATP_BUNDLE_KEYS_MAX || vkey.name.size >= sizeof(key->name))
			return fail(v, ATP_BUNDLE_BAD_INPUT, "there are too many keys, or one has a name that is too long");
		key = &v->keys[v->key_count++];
		memset(key, 0, sizeof(*key));
		key->vkey = vkey;
		memcpy(key->name, vkey.name.data, vkey.name.size);
		key->vkey.name.data = key->name;
	}
	key->state = line->state;
	key->until_size = line->until_size;
	return true;
}

/* ---- checkpoint ---- */

static bool
check_signatures(AtpBundleVerifier *v, uint64_t size, bool anchored)
{
	const char *why = "no pinned key has signed the checkpoint";

	for (int i = 0; i < v->key_count; i++)
	{
		const AtpTrustedKey *key = &v->keys[i];
		uint64_t	seconds;
		AtpNoteVerdict verdict = key->cosigner ? atp_note_verify_cosignature(&v->note, &key->vkey, &seconds)
			: atp_note_verify(&v->note, &key->vkey);

		if (verdict == ATP_NOTE_BAD_SIGNATURE)
			return fail(v, ATP_BUNDLE_TAMPERED, "a signature on the checkpoint is wrong");
		if (verdict != ATP_NOTE_VERIFIED && key->witness)
			return fail(v, ATP_BUNDLE_UNTRUSTED, "a witness that is asked for has not cosigned the checkpoint");
		if (verdict != ATP_NOTE_VERIFIED)
			continue;
		if (key->state == 'c' && !anchored)
			why = "the checkpoint is signed by a compromised key only";
		else if (key->state == 'r' && size > key->until_size)
			why = "the checkpoint is signed by a key after its retirement only";
		else if (key->witness)
			v->cosignatures++;
		else
			v->signatures++;
	}
	return v->signatures > 0 || fail(v, ATP_BUNDLE_UNTRUSTED, why);
}

static bool
take_checkpoint(AtpBundleVerifier *v, AtpText note)
{
	AtpCheckpoint checkpoint;
	bool		anchored;

	if (v->stage != STAGE_MANIFEST)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "the checkpoint stands in the wrong place");
	if (!atp_note_parse(note.data, note.size, &v->note) ||
		!atp_checkpoint_parse(v->note.text.data, v->note.text.size, &checkpoint) || checkpoint.root_size != ATP_HASH_SIZE)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "the checkpoint is not a signed checkpoint");
	if (checkpoint.origin.size != v->origin.size || memcmp(checkpoint.origin.data, v->origin.data, v->origin.size) != 0)
		return fail(v, ATP_BUNDLE_UNTRUSTED, "the checkpoint is of another origin");
	anchored = v->known.root_size > 0 && v->known.root_size == checkpoint.size &&
		memcmp(v->known.root_hash, checkpoint.root, ATP_HASH_SIZE) == 0;
	if (!check_signatures(v, checkpoint.size, anchored))
		return false;
	if (checkpoint.size != v->manifest.checkpoint_size)
		return fail(v, ATP_BUNDLE_TAMPERED, "the checkpoint is not the one that the manifest names");
	memcpy(v->root_hash, checkpoint.root, ATP_HASH_SIZE);
	if (v->known.root_size > checkpoint.size)
		return fail(v, ATP_BUNDLE_DIVERGED, "the checkpoint is older than the known head");
	if (v->known.root_size == checkpoint.size)
	{
		if (!anchored)
			return fail(v, ATP_BUNDLE_DIVERGED, "the known head of the same size has another root");
		v->known_root_checked = true;
	}
	v->stage = STAGE_CHECKPOINT;
	return true;
}

/* ---- proofs ---- */

static bool
take_head(AtpBundleVerifier *v, const AtpBundleProof *proof)
{
	uint8_t		leaf[ATP_HASH_SIZE];

	if (!atp_head_hash(v->manifest.log_uid, proof->size, proof->root, leaf))
		return fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
	if (proof->size != v->manifest.tree_size ||
		!atp_proof_verify_inclusion(leaf, proof->leaf, v->manifest.checkpoint_size, &proof->proof, v->root_hash))
		return fail(v, ATP_BUNDLE_TAMPERED, "the tenant's head is not in the root log");
	memcpy(v->tree_hash, proof->root, ATP_HASH_SIZE);
	v->has_head = true;
	if (v->known.tree_size > proof->size)
		return fail(v, ATP_BUNDLE_DIVERGED, "the tenant's tree is smaller than the known one");
	if (v->known.tree_size == proof->size)
	{
		if (memcmp(v->known.tree_hash, proof->root, ATP_HASH_SIZE) != 0)
			return fail(v, ATP_BUNDLE_DIVERGED, "the tenant's known tree of the same size has another root");
		v->known_tree_checked = true;
	}
	return true;
}

static bool
take_peaks(AtpBundleVerifier *v, const AtpBundleProof *proof)
{
	if (proof->size != v->manifest.from)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "the compact range is not that in front of the first leaf");
	if (!atp_range_load(&v->range, proof->size, proof->proof.hash[0], (size_t) proof->proof.count * ATP_HASH_SIZE))
		return fail(v, ATP_BUNDLE_TAMPERED, "the compact range has another number of hashes");
	v->has_peaks = true;
	return true;
}

static bool
take_growth(AtpBundleVerifier *v, const AtpBundleProof *proof)
{
	bool		root = proof->kind == ATP_PROOF_ROOT;
	uint64_t	old_size = root ? v->known.root_size : v->known.tree_size;
	bool		right;

	if (!root && proof->size == v->manifest.until && !v->has_tree_end)
	{
		v->tree_end = proof->proof;
		v->has_tree_end = true;
	}
	if (proof->size != old_size || old_size == 0)
		return true;			/* not about what is known here */
	right = root ? atp_proof_verify_consistency(old_size, v->manifest.checkpoint_size, &proof->proof, v->known.root_hash, v->root_hash)
		: atp_proof_verify_consistency(old_size, v->manifest.tree_size, &proof->proof, v->known.tree_hash, v->tree_hash);
	if (!right)
		return fail(v, ATP_BUNDLE_DIVERGED, root ? "the root log did not grow from the known head"
					: "the tenant's tree did not grow from the known one");
	if (root)
		v->known_root_checked = true;
	else
		v->known_tree_checked = true;
	return true;
}

/* Proofs come in one order: head, growth of the root log, compact range, then growths of the tree by old size. */
static bool
take_proof(AtpBundleVerifier *v, const AtpBundleProof *proof)
{
	static const int places[] = {[ATP_PROOF_HEAD] = 1, [ATP_PROOF_ROOT] = 2, [ATP_PROOF_RANGE] = 3, [ATP_PROOF_TENANT] = 4};
	int			place = places[proof->kind];

	if (v->stage != STAGE_CHECKPOINT || place < v->proof_place ||
		(place == v->proof_place && (place < 4 || proof->size <= v->proof_size)) || (v->proof_place == 0 && place != 1))
		return fail(v, ATP_BUNDLE_BAD_INPUT, "a proof stands in the wrong place");
	v->proof_place = place;
	v->proof_size = proof->size;
	switch (proof->kind)
	{
		case ATP_PROOF_HEAD:
			return take_head(v, proof);
		case ATP_PROOF_RANGE:
			return take_peaks(v, proof);
		default:
			return take_growth(v, proof);
	}
}

/* What has to be known before the first leaf. */
static bool
begin_events(AtpBundleVerifier *v)
{
	if (v->stage == STAGE_EVENTS)
		return true;
	if (v->stage != STAGE_CHECKPOINT || !v->has_head)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "the checkpoint or the tenant's head is missing");
	if (v->manifest.completeness != ATP_BUNDLE_PROOFS && v->manifest.from > 0 && !v->has_peaks)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "the compact range in front of the first leaf is missing");
	v->next_leaf = v->manifest.from;
	v->stage = STAGE_EVENTS;
	return true;
}

/* ---- leaves ---- */

/* The known tree may end inside the range: then its root is that of the range at that point. */
static bool
compare_known(AtpBundleVerifier *v)
{
	uint8_t		root[ATP_HASH_SIZE];

	if (v->known.tree_size != v->range.size || v->known.tree_size == 0)
		return true;
	if (!atp_range_root(&v->range, root))
		return fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
	if (memcmp(root, v->known.tree_hash, ATP_HASH_SIZE) != 0)
		return fail(v, ATP_BUNDLE_DIVERGED, "the first leaves are not those of the known tree");
	v->known_tree_checked = true;
	return true;
}

/* Ends the chunk in work: what of it was not shown. */
static bool
end_chunk(AtpBundleVerifier *v)
{
	int			rest = v->chunk.count - v->in_chunk;

	if (rest > 0 && v->manifest.completeness == ATP_BUNDLE_RECORDS)
		return fail_leaf(v, ATP_BUNDLE_INCOMPLETE, "the record of a leaf is missing", v->chunk.from + (uint64_t) v->in_chunk);
	v->bare += (uint64_t) rest;
	v->chunk.count = v->in_chunk = 0;
	return true;
}

static bool
take_chunk(AtpBundleVerifier *v, const AtpBundleChunk *chunk)
{
	if (!begin_events(v) || !end_chunk(v))
		return false;
	if (v->manifest.completeness == ATP_BUNDLE_PROOFS || chunk->from != v->range.size ||
		(uint64_t) chunk->count > v->manifest.until - v->range.size)
		return fail_leaf(v, chunk->from > v->range.size ? ATP_BUNDLE_INCOMPLETE : ATP_BUNDLE_BAD_INPUT,
						 "leaf hashes do not follow those before", v->range.size);
	for (int i = 0; i < chunk->count && !v->links_only; i++)
		if (!compare_known(v) || !atp_range_append(&v->range, chunk->hash[i], NULL, NULL))
			return fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
	if (v->links_only)
		v->range.size += (uint64_t) chunk->count;
	v->chunk = *chunk;
	return v->links_only || compare_known(v);
}

static bool
matches_filter(const AtpBundleManifest *manifest, const AtpRecord *record)
{
	if (manifest->by_stream && memcmp(record->stream_uid, manifest->stream_uid, 16) != 0)
		return false;
	if (manifest->by_type && (record->event_type_size != manifest->event_type.size ||
							  memcmp(record->event_type, manifest->event_type.data, manifest->event_type.size) != 0))
		return false;
	return (!manifest->by_from || record->recorded_at >= manifest->recorded_from) &&
		(!manifest->by_until || record->recorded_at < manifest->recorded_until);
}

static AtpLinkEntry *
probe(AtpBuf *table, uint64_t places, const uint8_t stream_uid[16])
{
	AtpLinkEntry *entries = (AtpLinkEntry *) (void *) table->data;
	uint64_t	at;

	memcpy(&at, stream_uid + 8, sizeof(at));	/* random bits of a version 4 uuid */
	at *= UINT64_C(0x9e3779b97f4a7c15);
	for (at >>= 32;; at++)
	{
		AtpLinkEntry *entry = &entries[at & (places - 1)];

		if (entry->version == 0 || memcmp(entry->stream_uid, stream_uid, 16) == 0)
			return entry;
	}
}

/* Makes the table of links twice as large, in the spare buffer, which then takes its place. */
static bool
grow_links(AtpBundleVerifier *v)
{
	uint64_t	least = ATP_BUNDLE_STREAMS < 1024 ? ATP_BUNDLE_STREAMS : 1024;
	uint64_t	places = v->links_places == 0 ? least : v->links_places * 2;
	AtpLinkEntry *old = (AtpLinkEntry *) (void *) v->links.data;
	AtpBuf		table = v->links_spare;

	if (places > ATP_BUNDLE_STREAMS || !atp_buf_reserve(&table, sizeof(AtpLinkEntry) * places))
		return false;
	memset(table.data, 0, sizeof(AtpLinkEntry) * places);
	for (uint64_t i = 0; i < v->links_places; i++)
		if (old[i].version != 0)
			*probe(&table, places, old[i].stream_uid) = old[i];
	v->links_spare = v->links;
	v->links = table;
	v->links_places = places;
	return true;
}

/* The place of a stream in the table of links, which may be free; NULL: the table is full. */
static AtpLinkEntry *
find_link(AtpBundleVerifier *v, const uint8_t stream_uid[16])
{
	AtpLinkEntry *entry = v->links_places == 0 ? NULL : probe(&v->links, v->links_places, stream_uid);

	if (entry != NULL && (entry->version != 0 || v->links_used < v->links_places / 4 * 3))
		return entry;
	return grow_links(v) ? probe(&v->links, v->links_places, stream_uid) : NULL;
}

/* Whether the versions of every stream in the bundle have to be dense: unless a filter or bare hashes leave some out. */
static bool
versions_are_dense(const AtpBundleManifest *manifest)
{
	return manifest->completeness == ATP_BUNDLE_RECORDS || !(manifest->by_type || manifest->by_from || manifest->by_until);
}

static bool
follow_link(AtpBundleVerifier *v, const AtpBundleEvent *event, const uint8_t leaf[ATP_HASH_SIZE])
{
	const AtpRecord *record = &event->record;
	static const uint8_t zeros[ATP_HASH_SIZE] = {0};
	AtpLinkEntry *entry;
	bool		first = record->stream_version == 1;

	if (record->stream_version == 0 || first != (memcmp(record->previous_hash, zeros, ATP_HASH_SIZE) == 0))
		return fail_leaf(v, ATP_BUNDLE_TAMPERED, "only the first version of a stream has no link to one before", event->leaf);
	if (v->links_classes > 1 && (uint32_t) (record->stream_uid[0] << 8 | record->stream_uid[1]) % v->links_classes != v->links_class)
		return true;
	entry = find_link(v, record->stream_uid);
	if (entry == NULL)
	{
		v->links_overflow = true;
		return true;
	}
	if (entry->version == 0)
	{
		if (!first && v->manifest.from == 0 && versions_are_dense(&v->manifest))
			return fail_leaf(v, ATP_BUNDLE_INCOMPLETE, "the first versions of a stream are missing", event->leaf);
		v->links_used++;
		memcpy(entry->stream_uid, record->stream_uid, 16);
	}
	else if (record->stream_version <= entry->version)
		return fail_leaf(v, ATP_BUNDLE_TAMPERED, "a version of a stream is there twice, or versions go down", event->leaf);
	else if (entry->sealed)
		return fail_leaf(v, ATP_BUNDLE_TAMPERED, "an event stands behind the seal of its stream", event->leaf);
	else if (record->stream_version > entry->version + 1)
	{
		if (versions_are_dense(&v->manifest))
			return fail_leaf(v, ATP_BUNDLE_INCOMPLETE, "versions of a stream are missing", event->leaf);
	}
	else if (memcmp(record->previous_hash, entry->hash, ATP_HASH_SIZE) != 0)
		return fail_leaf(v, ATP_BUNDLE_TAMPERED, "the link to the version before is another hash", event->leaf);
	entry->version = record->stream_version;
	memcpy(entry->hash, leaf, ATP_HASH_SIZE);
	entry->sealed = (record->flags & ATP_RECORD_PLATFORM) != 0 && record->event_type_size == 17 &&
		memcmp(record->event_type, "EventStreamSealed", 17) == 0;
	return true;
}

/* The canonical text of a seal holds what was computed: count and root of the events before it. */
static bool
has_member(AtpBundleVerifier *v, AtpText payload, const char *name, const uint8_t *hash, uint64_t number)
{
	AtpBuf	   *text = &v->scratch;

	text->size = 0;
	atp_buf_byte(text, '"');
	atp_buf_append(text, name, strlen(name));
	atp_buf_append(text, "\":", 2);
	if (hash != NULL)
	{
		atp_buf_byte(text, '"');
		atp_hex_write(text, hash, ATP_HASH_SIZE);
		atp_buf_byte(text, '"');
	}
	else
	{
		char		digits[20];
		int			at = sizeof(digits);

		do
			digits[--at] = (char) ('0' + number % 10);
		while ((number /= 10) != 0);
		atp_buf_append(text, digits + at, sizeof(digits) - (size_t) at);
		atp_buf_byte(text, ',');
	}
	if (text->failed)
		return false;
	for (size_t i = 0; i + text->size <= payload.size; i++)
		if (payload.data[i] == '"' && memcmp(payload.data + i, text->data, text->size) == 0)
			return true;
	return false;
}

/* In a bundle of one stream from its first version, the seal can be recomputed. */
static bool
check_seal(AtpBundleVerifier *v, const AtpBundleEvent *event, const uint8_t leaf[ATP_HASH_SIZE])
{
	const AtpRecord *record = &event->record;
	uint8_t		root[ATP_HASH_SIZE];

	if (!v->manifest.by_stream || v->manifest.by_type || v->manifest.by_from || v->manifest.by_until ||
		v->stream_range.size != record->stream_version - 1)
		return true;
	if ((record->flags & ATP_RECORD_PLATFORM) != 0 && record->event_type_size == 17 &&
		memcmp(record->event_type, "EventStreamSealed", 17) == 0)
	{
		if (!atp_range_root(&v->stream_range, root))
			return fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
		if (!has_member(v, event->payload, "MerkleRoot", root, 0) ||
			!has_member(v, event->payload, "FinalEventCount", NULL, v->stream_range.size))
			return fail_leaf(v, ATP_BUNDLE_TAMPERED, "the seal of the stream is not over the events before it", event->leaf);
		v->seals++;
	}
	return atp_range_append(&v->stream_range, leaf, NULL, NULL) || fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
}

/* The leaf is in the tree: as the next one of the chunk, or by a proof of its own. */
static bool
place_leaf(AtpBundleVerifier *v, const AtpBundleEvent *event, const uint8_t leaf[ATP_HASH_SIZE])
{
	uint64_t	at;

	if (v->manifest.completeness == ATP_BUNDLE_PROOFS)
	{
		if (event->omitted || !event->has_proof)
			return fail_leaf(v, ATP_BUNDLE_INCOMPLETE, "an event has no proof", event->leaf);
		return atp_proof_verify_inclusion(leaf, event->leaf, v->manifest.tree_size, &event->proof, v->tree_hash) ||
			fail_leaf(v, ATP_BUNDLE_TAMPERED, "the event is not in the tenant's tree", event->leaf);
	}
	if (event->has_proof)
		return fail_leaf(v, ATP_BUNDLE_BAD_INPUT, "an event of a range has a proof of its own", event->leaf);
	if (event->leaf < v->chunk.from + (uint64_t) v->in_chunk || event->leaf >= v->chunk.from + (uint64_t) v->chunk.count)
		return fail_leaf(v, ATP_BUNDLE_BAD_INPUT, "an event stands in the wrong place", event->leaf);
	at = event->leaf - v->chunk.from;
	if (at > (uint64_t) v->in_chunk && v->manifest.completeness == ATP_BUNDLE_RECORDS)
		return fail_leaf(v, ATP_BUNDLE_INCOMPLETE, "the record of a leaf is missing", v->chunk.from + (uint64_t) v->in_chunk);
	v->bare += at - (uint64_t) v->in_chunk;
	v->in_chunk = (int) at + 1;
	return memcmp(v->chunk.hash[at], leaf, ATP_HASH_SIZE) == 0 ||
		fail_leaf(v, ATP_BUNDLE_TAMPERED, "the event does not hash to its leaf", event->leaf);
}

static bool
hash_event(AtpBundleVerifier *v, AtpBundleEvent *event, uint8_t leaf[ATP_HASH_SIZE])
{
	AtpRecord  *record = &event->record;

	memcpy(record->log_uid, v->manifest.log_uid, 16);
	if (!event->omitted &&
		(!atp_part_commitment(ATP_PART_PAYLOAD, event->salts, event->payload.data, event->payload.size, NULL, 0,
							  record->payload_commitment) ||
		 !atp_part_commitment(ATP_PART_METADATA, event->salts + ATP_SALT_SIZE, event->metadata.data, event->metadata.size, NULL, 0,
							  record->metadata_commitment)))
		return fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
	return atp_record_hash(record, leaf) || fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
}

/* A further pass over the bundle believes the hashes, which the first has checked. */
static bool
take_event_again(AtpBundleVerifier *v, AtpBundleEvent *event)
{
	uint8_t		leaf[ATP_HASH_SIZE];

	if (v->manifest.completeness == ATP_BUNDLE_PROOFS)
	{
		if (!hash_event(v, event, leaf))
			return false;
	}
	else
	{
		if (event->leaf < v->chunk.from || event->leaf >= v->chunk.from + (uint64_t) v->chunk.count)
			return fail_leaf(v, ATP_BUNDLE_BAD_INPUT, "an event stands in the wrong place", event->leaf);
		memcpy(leaf, v->chunk.hash[event->leaf - v->chunk.from], ATP_HASH_SIZE);
		v->in_chunk = (int) (event->leaf - v->chunk.from) + 1;
	}
	return follow_link(v, event, leaf);
}

/* The first event of a stream names it in its metadata: what the bundle shows has to agree. */
static bool
check_name(AtpBundleVerifier *v, const AtpBundleEvent *event)
{
	static const char member[] = "{\"$stream\":";
	size_t		begin = sizeof(member) - 1;

	if (event->record.stream_version != 1)
		return true;
	v->scratch.size = 0;
	atp_canon_string(&v->scratch, event->stream.data, event->stream.size);
	return (event->metadata.size > begin + v->scratch.size && memcmp(event->metadata.data, member, begin) == 0 &&
			memcmp(event->metadata.data + begin, v->scratch.data, v->scratch.size) == 0) ||
		fail_leaf(v, ATP_BUNDLE_TAMPERED, "the stream has another name than its first event says", event->leaf);
}

static bool
take_event(AtpBundleVerifier *v, AtpBundleEvent *event)
{
	uint8_t		leaf[ATP_HASH_SIZE];

	if (!begin_events(v))
		return false;
	if (v->links_only)
		return take_event_again(v, event);
	if ((event->record.flags & ~ATP_RECORD_FLAGS) != 0)
		return fail_leaf(v, ATP_BUNDLE_BAD_INPUT, "unknown record flags", event->leaf);
	if (!hash_event(v, event, leaf) || !place_leaf(v, event, leaf))
		return false;
	if (matches_filter(&v->manifest, &event->record) == event->omitted)
		return fail_leaf(v, event->omitted ? ATP_BUNDLE_INCOMPLETE : ATP_BUNDLE_BAD_INPUT,
						 event->omitted ? "an event that the filter asks for is left out"
						 : "an event does not match the filter", event->leaf);
	if (!follow_link(v, event, leaf))
		return false;
	if (event->omitted)
	{
		v->omitted++;
		return true;
	}
	if (!atp_canon_check(event->payload.data, event->payload.size, &v->scratch) ||
		!atp_canon_check(event->metadata.data, event->metadata.size, &v->scratch))
		return fail_leaf(v, ATP_BUNDLE_TAMPERED, "a document is not canonical JSON", event->leaf);
	if (!check_name(v, event) || !check_seal(v, event, leaf))
		return false;
	v->events++;
	if (v->on_event != NULL)
		v->on_event(v->context, event, leaf);
	return true;
}

/* ---- the whole ---- */

static bool
take_manifest(AtpBundleVerifier *v, const AtpBundleManifest *manifest)
{
	AtpBundleManifest *kept = &v->manifest;
	AtpText	   *texts[] = {&kept->origin, &kept->tenant, &kept->event_type};

	if (v->stage != STAGE_NOTHING)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "there are two manifests");
	*kept = *manifest;
	if (!manifest->by_type)
		kept->event_type = (AtpText) {"", 0};
	if (!atp_buf_reserve(&v->kept, kept->origin.size + kept->tenant.size + kept->event_type.size))
		return fail(v, ATP_BUNDLE_BAD_INPUT, NO_MEMORY);
	for (int i = 0; i < 3; i++)
	{
		const char *at = (const char *) v->kept.data + v->kept.size;

		atp_buf_append(&v->kept, texts[i]->data, texts[i]->size);
		texts[i]->data = at;
	}
	if (kept->origin.size != v->origin.size || memcmp(kept->origin.data, v->origin.data, v->origin.size) != 0)
		return fail(v, ATP_BUNDLE_UNTRUSTED, "the bundle is of another origin");
	if (kept->from > kept->until || kept->until > kept->tree_size)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "the range is not one of the tree");
	if (v->on_manifest != NULL)
		v->on_manifest(v->context, kept, &v->known);
	v->stage = STAGE_MANIFEST;
	return true;
}

static bool
take_end(AtpBundleVerifier *v, const AtpBundleEnd *end)
{
	uint8_t		root[ATP_HASH_SIZE];

	if (!begin_events(v) || !end_chunk(v))
		return false;
	if (v->manifest.completeness != ATP_BUNDLE_PROOFS)
	{
		if (v->range.size != v->manifest.until)
			return fail_leaf(v, ATP_BUNDLE_INCOMPLETE, "leaves at the end of the range are missing", v->range.size);
		if (v->range.size > 0 && !v->links_only)
		{
			if (!atp_range_root(&v->range, root))
				return fail(v, ATP_BUNDLE_BAD_INPUT, HASH_FAILED);
			if (v->range.size < v->manifest.tree_size && !v->has_tree_end)
				return fail(v, ATP_BUNDLE_INCOMPLETE, "the proof from the range to the tenant's tree is missing");
			if (v->range.size == v->manifest.tree_size ? memcmp(root, v->tree_hash, ATP_HASH_SIZE) != 0
				: !atp_proof_verify_consistency(v->range.size, v->manifest.tree_size, &v->tree_end, root, v->tree_hash))
				return fail(v, ATP_BUNDLE_TAMPERED, "the leaves of the range are not those of the tenant's tree");
		}
	}
	if (!v->links_only && (end->events != v->events || end->omitted != v->omitted ||
						   end->leaves != (v->manifest.completeness == ATP_BUNDLE_PROOFS ? v->events
										   : v->manifest.until - v->manifest.from)))
		return fail(v, end->events > v->events ? ATP_BUNDLE_INCOMPLETE : ATP_BUNDLE_BAD_INPUT, "the end names another number of events");
	v->stage = STAGE_END;
	return true;
}

bool
atp_bundle_take(AtpBundleVerifier *v, const char *text, size_t size)
{
	if (v->what != NULL)
		return false;
	v->lines++;
	if (v->stage == STAGE_END)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "something follows the end");
	if (size > ATP_BUNDLE_LINE_MAX)
		return fail(v, ATP_BUNDLE_BAD_INPUT, "a line is too long");
	switch (atp_bundle_read(text, size, &v->strings, &v->line))
	{
		case ATP_LINE_BAD:
			return fail(v, ATP_BUNDLE_BAD_INPUT, "not a line of a bundle");
		case ATP_LINE_MANIFEST:
			return take_manifest(v, &v->line.manifest);
		default:
			if (v->stage == STAGE_NOTHING)
				return fail(v, ATP_BUNDLE_BAD_INPUT, "the manifest is not the first line");
	}
	switch (v->line.type)
	{
		case ATP_LINE_KEY:
			return take_key(v, &v->line.key);
		case ATP_LINE_CHECKPOINT:
			return take_checkpoint(v, v->line.note);
		case ATP_LINE_PROOF:
			return take_proof(v, &v->line.proof);
		case ATP_LINE_CHUNK:
			return take_chunk(v, &v->line.chunk);
		case ATP_LINE_EVENT:
			return take_event(v, &v->line.event);
		default:
			return take_end(v, &v->line.end);
	}
}

bool
atp_bundle_finish(AtpBundleVerifier *v, bool cut)
{
	if (v->what != NULL)
		return false;
	if (cut)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "the bundle ends inside a line");
	if (v->lines == 0)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "the bundle is empty");
	if (v->stage != STAGE_END)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "the end is missing");
	if (v->links_only)
		return true;
	if (v->known.root_size > 0 && !v->known_root_checked)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "there is no proof that the root log grew from the known head");
	if (v->known.tree_size > 0 && !v->known_tree_checked)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "there is no proof that the tenant's tree grew from the known one");
	if (v->events + v->omitted + v->bare == 0)
		return fail(v, ATP_BUNDLE_INCOMPLETE, "there is nothing to verify");
	return true;
}
