// Package sim is a toy machine and a seeded world. The toy meets
// machine.Machine and stands in for the computer wherever a test is about the
// rooms around it. The world runs pairs of replicas (ft.Replica, ft.Gate, logs
// of replay.Entry) on the toy with an arbiter, a switch and a shared disk, all
// in one goroutine on virtual time, and injects drops, delays, partitions,
// pauses and crashes at every step. Checkers watch invariants; a failure names
// the seed that repeats it (R20).
package sim
