// Package dev is the guest halves of the board's simple devices: UART, PLIC,
// CLINT, real-time clock and syscon, and what every console keeps of its
// output and input.
//
// Each device is a bus.Device whose fields are its State: Save writes them,
// Load validates and replaces them, Reset puts them back to power-on. Levels
// of interrupt lines are pure functions of State (IRQ); the board carries them
// to the PLIC and the hart after every access and input.
package dev
