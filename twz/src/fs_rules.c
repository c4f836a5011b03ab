/* SPDX-License-Identifier: MIT
 * fs_rules.c -- which file systems a store may lie on
 */
#include "backend.h"

#include <string.h>

struct fs_rule {
	uint64_t f_type;
	const char *reason;
};

#define NETWORK                                                                                    \
	" is a network file system: its mappings and locks are not shared with other machines"
#define COPY_ON_WRITE                                                                              \
	" copies on write: a full disk would kill the process in the middle of a store"

static const struct fs_rule fs_rules[] = {
	{0x6969, "NFS" NETWORK},
	{0x517b, "SMB" NETWORK},
	{0xff534d42, "CIFS" NETWORK},
	{0xfe534d42, "SMB2" NETWORK},
	{0x00c36400, "Ceph" NETWORK},
	{0x0bd00bd0, "Lustre" NETWORK},
	{0x5346414f, "AFS" NETWORK},
	{0x6b414653, "AFS" NETWORK},
	{0x73757245, "Coda" NETWORK},
	{0x01021997, "9P" NETWORK},
	{0x65735546, "FUSE"
		     " may be a network file system, and cannot promise to keep mappings coherent"},
	{0x01161970, "GFS2" NETWORK},
	{0x7461636f, "OCFS2" NETWORK},
	{0x19830326, "BeeGFS" NETWORK},
	{0x564c, "NCP" NETWORK},
	{0x2fc12fc1, "ZFS" COPY_ON_WRITE},
	{0xca451a4e, "bcachefs" COPY_ON_WRITE},
	{0x9660, "ISO 9660"
		 " is read-only"},
	{0x73717368, "squashfs"
		     " is read-only"},
	{0xe0f5e1e2, "EROFS"
		     " is read-only"},
	{0x9fa0, "proc"
		 " keeps no files"},
	{0x62656572, "sysfs"
		     " keeps no files"},
};

const char *twz__fs_refused(uint64_t f_type)
{
	for (size_t i = 0; i < sizeof(fs_rules) / sizeof(fs_rules[0]); i++)
		if (fs_rules[i].f_type == (f_type & 0xffffffff))
			return fs_rules[i].reason;
	return NULL;
}

/* No lock or mapping goes wrong on a medium that nobody can write. */
const char *twz__fs_refused_to_read(uint64_t f_type)
{
	const char *why = twz__fs_refused(f_type);

	return why && strstr(why, " is read-only") ? NULL : why;
}
