/* Ed25519 through OpenSSL EVP; see sign.h. */
#include "core/sign.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

bool
atp_sign_generate(uint8_t seed[ATP_SIGN_KEY_SIZE])
{
	bool		done;

	ERR_set_mark();
	done = RAND_priv_bytes(seed, ATP_SIGN_KEY_SIZE) == 1;
	ERR_pop_to_mark();
	return done;
}

bool
atp_sign_public_key(const uint8_t seed[ATP_SIGN_KEY_SIZE], uint8_t public_key[ATP_SIGN_KEY_SIZE])
{
	size_t		size = ATP_SIGN_KEY_SIZE;
	EVP_PKEY   *key;
	bool		done;

	ERR_set_mark();
	key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ATP_SIGN_KEY_SIZE);
	done = key != NULL && EVP_PKEY_get_raw_public_key(key, public_key, &size) == 1 && size == ATP_SIGN_KEY_SIZE;
	EVP_PKEY_free(key);
	ERR_pop_to_mark();
	return done;
}

bool
atp_sign(const uint8_t seed[ATP_SIGN_KEY_SIZE], const void *message, size_t size, uint8_t signature[ATP_SIGNATURE_SIZE])
{
	size_t		signature_size = ATP_SIGNATURE_SIZE;
	EVP_PKEY   *key;
	EVP_MD_CTX *context;
	bool		done;

	ERR_set_mark();
	key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ATP_SIGN_KEY_SIZE);
	context = EVP_MD_CTX_new();
	done = key != NULL && context != NULL &&
		EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestSign(context, signature, &signature_size, message, size) == 1 &&
		signature_size == ATP_SIGNATURE_SIZE;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);			/* OpenSSL wipes its own copy of the seed */
	ERR_pop_to_mark();
	return done;
}

bool
atp_sign_verify(const uint8_t *public_key, size_t key_size, const void *message, size_t size, const uint8_t *signature,
				size_t signature_size)
{
	EVP_PKEY   *key;
	EVP_MD_CTX *context;
	bool		right;

	if (key_size != ATP_SIGN_KEY_SIZE || signature_size != ATP_SIGNATURE_SIZE)
		return false;
	ERR_set_mark();
	key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, key_size);
	context = EVP_MD_CTX_new();
	right = key != NULL && context != NULL &&
		EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestVerify(context, signature, signature_size, message, size) == 1;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	ERR_pop_to_mark();
	return right;
}

void
atp_sign_wipe(void *secret, size_t size)
{
	OPENSSL_cleanse(secret, size);
}
