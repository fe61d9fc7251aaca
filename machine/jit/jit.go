// Package jit runs blocks as code of the host: executable memory, the way in
// and out, and an emitter for the host's architecture. It is the one room below
// machine that asks the host for something, memory, and nothing that it does
// can reach State: translated code is a cache (R5).
package jit

// DefaultSize is room for the code of a busy guest, in bytes. Memory is taken as
// code is made. When it is used up everything is forgotten and made again.
const DefaultSize = 64 << 20

// minSize holds the largest block many times over.
const minSize = 1 << 20
