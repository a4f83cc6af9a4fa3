// HMAC-SHA-256 for the peers' mutual authentication, and the digests by which copies are compared, come from the system's OpenSSL.
#pragma once
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
