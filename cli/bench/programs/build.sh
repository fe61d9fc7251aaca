#!/bin/sh -e
# Builds the programs for the guest: main.riscv64, and built.txt, which says
# from what and with what. Needs gcc for riscv64 (Debian: gcc-riscv64-linux-gnu);
# another one is named by CC. OUT is the directory for both, else this one.
cd "$(dirname "$0")"
CC=${CC:-riscv64-linux-gnu-gcc}
OUT=${OUT:-.}
SOURCES="branch.c compress.c disk.c float.c integer.c main.c memory.c rt.h rt_guest.c system.c"
set -f
# The order of the files on the command line is that of their code.
$CC -O2 -march=rv64gc -mabi=lp64d -static -nostdlib -ffreestanding -fno-math-errno \
	-fno-stack-protector -fno-pic -fno-tree-loop-distribute-patterns -Wall -Wextra -Werror \
	-Wl,--build-id=none -s -o "$OUT/main.riscv64" $(echo $SOURCES | sed 's/rt\.h//')
{
	echo "compiler $($CC -dumpfullversion) $($CC --version | head -n 1)"
	echo "linker $($CC -Wl,--version 2>/dev/null | head -n 1)"
	echo "sources $(cat $SOURCES build.sh | sha256sum | cut -d ' ' -f 1)"
	echo "program $(sha256sum <"$OUT/main.riscv64" | cut -d ' ' -f 1)"
} >"$OUT/built.txt"
