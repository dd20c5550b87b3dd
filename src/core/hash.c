/* SHA-256 through OpenSSL EVP; see hash.h. */
#include "core/hash.h"

#include <openssl/evp.h>

static EVP_MD *digest;			/* fetched at first use, kept for the life of the process */
static EVP_MD_CTX *context;

bool
atp_sha256_begin(void)
{
	if (context == NULL)
	{
		if (digest == NULL && (digest = EVP_MD_fetch(NULL, "SHA256", NULL)) == NULL)
			return false;
		if ((context = EVP_MD_CTX_new()) == NULL)
			return false;
	}
	return EVP_DigestInit_ex2(context, digest, NULL) == 1;
}

bool
atp_sha256_update(const void *data, size_t size)
{
	return EVP_DigestUpdate(context, data, size) == 1;
}

bool
atp_sha256_final(uint8_t hash[ATP_HASH_SIZE])
{
	unsigned int size = 0;

	return EVP_DigestFinal_ex(context, hash, &size) == 1 && size == ATP_HASH_SIZE;
}

bool
atp_sha256(const void *data, size_t size, uint8_t hash[ATP_HASH_SIZE])
{
	return atp_sha256_begin() && atp_sha256_update(data, size) && atp_sha256_final(hash);
}

bool
atp_sha256_slices(const AtpSlice *slices, int count, uint8_t hash[ATP_HASH_SIZE])
{
	if (!atp_sha256_begin())
		return false;
	for (int i = 0; i < count; i++)
		if (!atp_sha256_update(slices[i].data, slices[i].size))
			return false;
	return atp_sha256_final(hash);
}
