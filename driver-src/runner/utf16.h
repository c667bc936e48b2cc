/* UTF-8 and UTF-16, both ways. Portable. */
#ifndef RUNNER_UTF16_H
#define RUNNER_UTF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
typedef wchar_t utf16_t;
#else
typedef uint16_t utf16_t;
#endif

/* Whether `size` bytes are UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, up to U+10FFFF. */
bool utf8_is_valid(const unsigned char *text, size_t size);

/* UTF-16 units of valid UTF-8, and the conversion into a buffer of that many. */
size_t utf16_units(const unsigned char *text, size_t size);
void utf16_from_utf8(utf16_t *to, const unsigned char *text, size_t size);

/* Whether every surrogate has its other half, so that there is a UTF-8 form. */
bool utf16_is_paired(const utf16_t *text, size_t units);

/* Bytes of the UTF-8 form, and the conversion into a buffer of that many. Half a pair becomes U+FFFD. */
size_t utf8_size(const utf16_t *text, size_t units);
void utf8_from_utf16(unsigned char *to, const utf16_t *text, size_t units);

#endif
