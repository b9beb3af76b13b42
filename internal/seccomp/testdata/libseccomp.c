/* Feeds rules from standard input to libseccomp and writes the program that it
 * makes of them to standard output. Lines:
 *   arch NAME
 *   rule ACTION SYSCALL COUNT [INDEX OP A B]...
 * Names that it does not know go to standard error. Exits with 3 when it
 * refuses a rule. */
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	char word[8], name[64];
	scmp_filter_ctx ctx = seccomp_init(strtoul(argv[1], NULL, 0));

	if (ctx == NULL)
		return 1;
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	while (scanf("%7s", word) == 1) {
		unsigned int action, n, i;
		struct scmp_arg_cmp args[6];

		if (strcmp(word, "arch") == 0) {
			if (scanf("%63s", name) != 1)
				return 1;
			if (seccomp_arch_add(ctx, seccomp_arch_resolve_name(name)) < 0)
				return 2;
			continue;
		}
		if (scanf("%u %63s %u", &action, name, &n) != 3)
			return 1;
		for (i = 0; i < n; i++) {
			unsigned int op;
			unsigned long long a, b;
			if (scanf("%u %u %llu %llu", &args[i].arg, &op, &a, &b) != 4)
				return 1;
			args[i].op = op;
			args[i].datum_a = a;
			args[i].datum_b = b;
		}
		int nr = seccomp_syscall_resolve_name(name);
		if (nr == __NR_SCMP_ERROR) {
			fprintf(stderr, "%s\n", name);
			continue;
		}
		if (seccomp_rule_add_array(ctx, action, nr, n, args) < 0)
			return 3;
	}
	return seccomp_export_bpf(ctx, 1) < 0;
}
