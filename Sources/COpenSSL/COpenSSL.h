// HMAC-SHA-256 for the peers' mutual authentication comes from the system's OpenSSL.
#pragma once
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
