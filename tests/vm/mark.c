/* SPDX-License-Identifier: MIT
 * mark.c -- marks in the log of a dm-log-writes device: the message "mark TEXT", without a process per mark
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmload.h"

static const char *device;
static int control = -1;

int mark_open(const char *name)
{
	device = name;
	control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	return control < 0 ? -errno : 0;
}

void mark_write(const char *text)
{
	struct {
		struct dm_ioctl io;
		struct dm_target_msg msg;
		char text[100];
	} m;
	char *mark;

	if (control < 0)
		return;
	memset(&m, 0, sizeof(m));
	m.io.version[0] = DM_VERSION_MAJOR;
	m.io.data_size = sizeof(m);
	m.io.data_start = offsetof(__typeof__(m), msg);
	snprintf(m.io.name, sizeof(m.io.name), "%s", device);
	/* the message begins where struct dm_target_msg has its flexible array */
	mark = (char *)&m + offsetof(__typeof__(m), msg) + offsetof(struct dm_target_msg, message);
	snprintf(mark, sizeof(m.text), "mark %s", text);
	for (mark += 5; *mark; mark++) /* it must be one word */
		if (*mark == ' ')
			*mark = ':';
	if (ioctl(control, DM_TARGET_MSG, &m))
		say("E -1 cannot mark: errno %d", errno);
}
