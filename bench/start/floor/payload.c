/*
 * payload: the smallest useful program for a container that is only measured.
 *
 *   payload          exit 0 at once
 *   payload N        exit with status N
 *   payload pause    sleep until killed
 *
 * Built with -static -nostdlib: what it costs is exec, one page of stack and
 * exit, so what a start costs is what its runtime costs.
 */
#include <asm/unistd.h>

#include "syscall.h"

__attribute__((used)) static void payload_main(long *sp)
{
	char **argv = (char **)(sp + 1);
	long status = 0;

	if (sp[0] > 1 && argv[1][0] == 'p')
		for (;;)
			sys2(__NR_ppoll, 0, 0);
	if (sp[0] > 1)
		for (char *c = argv[1]; *c >= '0' && *c <= '9'; c++)
			status = status * 10 + (*c - '0');
	sys1(__NR_exit_group, status);
	__builtin_unreachable();
}

ENTRY(payload_main)
