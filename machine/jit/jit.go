// Package jit runs blocks as code of the host: executable memory, the way in
// and out, and an emitter for the host's architecture. It is the one room below
// machine that asks the host for something, memory, and nothing that it does
// can reach State: translated code is a cache (R5).
//
// # What it does
//
// Blocks are chained within a page; a jump elsewhere is looked up in Jumps, and so
// is a return: the host predicts indirect jumps by their history. A ring of return
// addresses was measured on recursion and on an interpreter, and gained nothing:
// each call pays what a return saves.
// Accesses to RAM, F and D, atomics, and what kernels do at every system call and
// around every critical section stay in translated code. The hart does the rest,
// one instruction at a time, and code goes on behind it.
//
// # What a hostile guest cannot do
//
// It can have any code translated, as often as it likes. For each way out that
// this might open there is a reason why it does not:
//
//   - Write code of the host. Memory is mapped twice: where it is executed it
//     cannot be written, and is mapped from a file that was sealed against that
//     before, so that no call of the process changes it. Where it is written it
//     cannot be executed; the kernel keeps that promise from 6.7 on, and before
//     it nothing does but that this process never asks for the opposite.
//   - Choose a host address. A guest's value becomes one in one place, Delta of
//     an entry of ReadTLB or WriteTLB, or of the copy of one in Near, and only if
//     its tag, all 64 bits of the page and the context, is that of the first and
//     of the last byte accessed. A group of accesses is one access to all of their
//     bytes. The hart alone fills the TLBs, with pages of RAM, and forgets Near
//     with whatever it forgets of them. No tag is 0, so an empty entry fits
//     nothing.
//   - Read or write beside a cache. Indexes into the TLBs, Jumps and FlagsOf are
//     masked to their sizes by an instruction before each use, whatever the
//     address was; those into Near are constants.
//   - Jump anywhere. The targets are entries of blocks in Jumps, which Go writes;
//     entries and resumption points handed to Enter; and displacements that the
//     emitter or Link wrote, all within the arena. No guest register is a target,
//     and no constant of the guest's is placed where a jump leads to.
//   - Use the host's stack. RSP is no operand of translated code.
//   - Stay. Every block takes its length off Budget before anything else and
//     leaves if that is not covered, and Budget is never more than a small number
//     when code is entered.
//   - Run code that is no longer there. A page's code gets a number that is never
//     used again, which Jumps and FetchTLB compare; direct jumps stay within a
//     page, which is forgotten as a whole; and whatever may forget code happens
//     in the hart, which does not go back into a block behind which it did.
//   - Fill the memory. The arena has a fixed size; when it is full all code is
//     forgotten.
//
// What this does not cover: the emitter itself is trusted to emit what it means
// (its tests read every instruction with another's disassembler), and side
// channels of the host's processor are not closed: an emulated guest shares the
// address space of the process, and nothing flushes predictors between the two.
package jit

// DefaultSize is room for the code of a busy guest, in bytes. Memory is taken as
// code is made. When it is used up everything is forgotten and made again.
const DefaultSize = 64 << 20

// minSize holds the largest block many times over.
const minSize = 1 << 20
