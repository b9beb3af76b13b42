/* System calls and program entry without a C library, for amd64 and arm64. */
#ifndef FLOOR_SYSCALL_H
#define FLOOR_SYSCALL_H

#if defined(__x86_64__)
static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "+a"(nr)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return nr;
}

/* The kernel enters with argc at the stack pointer; C wants it as an argument. */
#define ENTRY(fn)                                                              \
	__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n"   \
		"\tand $-16,%rsp\n\tcall " #fn "\n\thlt\n");

/*
 * clone3 whose child runs fn(arg) on the stack named in args and never
 * returns, so that a child that shares our memory leaves our stack alone.
 */
static inline long clone3_call(void *args, long size, void (*fn)(void *), void *arg)
{
	register void *r12 __asm__("r12") = arg;
	register void (*r13)(void *) __asm__("r13") = fn;
	long ret;
	__asm__ volatile("syscall\n\ttest %%rax,%%rax\n\tjnz 1f\n"
			 "\txor %%ebp,%%ebp\n\tmov %%r12,%%rdi\n\tcall *%%r13\n\thlt\n1:"
			 : "=a"(ret)
			 : "0"(__NR_clone3), "D"(args), "S"(size), "r"(r12), "r"(r13)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

#define ENTRY(fn)                                                              \
	__asm__(".globl _start\n_start:\n\tmov x29,xzr\n\tmov x0,sp\n\tbl " #fn \
		"\n\tbrk 0\n");

static inline long clone3_call(void *args, long size, void (*fn)(void *), void *arg)
{
	register long x8 __asm__("x8") = __NR_clone3;
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = size;
	register void *x9 __asm__("x9") = arg;
	register void (*x10)(void *) __asm__("x10") = fn;
	__asm__ volatile("svc 0\n\tcbnz x0,1f\n\tmov x29,xzr\n\tmov x0,x9\n"
			 "\tblr x10\n\tbrk 0\n1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x9), "r"(x10)
			 : "memory");
	return x0;
}
#else
#error "the floor knows amd64 and arm64"
#endif

#define sys5(nr, a, b, c, d, e) \
	sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define sys4(nr, a, b, c, d) sys5(nr, a, b, c, d, 0)
#define sys3(nr, a, b, c) sys5(nr, a, b, c, 0, 0)
#define sys2(nr, a, b) sys5(nr, a, b, 0, 0, 0)
#define sys1(nr, a) sys5(nr, a, 0, 0, 0, 0)
#define sys0(nr) sys5(nr, 0, 0, 0, 0, 0)

#endif
