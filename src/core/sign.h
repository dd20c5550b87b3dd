/*
 * Ed25519 (RFC 8032, without context or pre-hash) through OpenSSL EVP. With core/hash the only file of core that includes
 * OpenSSL. A private key is its seed of 32 bytes; who holds one wipes it. Failures leave nothing in OpenSSL's error queue,
 * which the backend shares with TLS.
 */
#ifndef ATP_SIGN_H
#define ATP_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATP_SIGN_KEY_SIZE 32	/* seed and public key alike */
#define ATP_SIGNATURE_SIZE 64

/* Draws a seed from OpenSSL's random generator for private values. */
extern bool atp_sign_generate(uint8_t seed[ATP_SIGN_KEY_SIZE]);
extern bool atp_sign_public_key(const uint8_t seed[ATP_SIGN_KEY_SIZE], uint8_t public_key[ATP_SIGN_KEY_SIZE]);
extern bool atp_sign(const uint8_t seed[ATP_SIGN_KEY_SIZE], const void *message, size_t size,
					 uint8_t signature[ATP_SIGNATURE_SIZE]);

/* True only where the signature is right: s below the group's order, both sizes exact. False also where OpenSSL fails. */
extern bool atp_sign_verify(const uint8_t *public_key, size_t key_size, const void *message, size_t size,
							const uint8_t *signature, size_t signature_size);

/* Overwrites a secret in a way that the compiler does not take out. */
extern void atp_sign_wipe(void *secret, size_t size);

#endif
