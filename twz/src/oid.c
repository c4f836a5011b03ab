/* SPDX-License-Identifier: MIT
 * oid.c -- text form of object IDs
 */
#include "internal.h"

static const char hex_digits[] = "0123456789abcdef";

/* Byte I of an ID is byte I of its 16 bytes on the medium (little-endian words). */
static unsigned int oid_byte(twz_oid id, int i)
{
	return id.w[i / 8] >> (i % 8 * 8) & 0xff;
}

char *twz_oid_str(twz_oid id, char *buf)
{
	for (int i = 0; i < 16; i++) {
		buf[2 * i] = hex_digits[oid_byte(id, i) >> 4];
		buf[2 * i + 1] = hex_digits[oid_byte(id, i) & 15];
	}
	buf[32] = '\0';
	return buf;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int twz_oid_parse(const char *s, twz_oid *id)
{
	twz_oid out = {{0, 0}};
	const char *p = s;

	*id = out;
	for (int i = 0; i < 32; i++, p++) {
		int v = hex_value(*p);

		if (v < 0)
			return twz__err(TWZ_E_INVAL,
					"'%.40s' is not an object ID: give 32 hexadecimal digits",
					s);
		out.w[i / 16] |= (uint64_t)v << (i % 16 / 2 * 8 + (i % 2 ? 0 : 4));
	}
	if (*p)
		return twz__err(TWZ_E_INVAL, "'%.40s' is not an object ID: more than 32 digits", s);
	*id = out;
	return 0;
}
