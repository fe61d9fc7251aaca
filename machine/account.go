package machine

// Account is what a Digest was taken over, part by part, so that two replicas
// whose digests differ can tell where. Equal digests at one position and
// different ones at the next differ in a register, in a device, or in a page
// that one of the two has written in between.
type Account struct {
	Pos    Icount
	Digest Digest
	// Registers are the hart's, by the names of the specification, in a fixed order.
	Registers []Register
	// Devices are hashes over the State of each device, in a fixed order.
	Devices []PartSum
	// Pages are hashes of the pages of RAM that were hashed anew for this
	// digest, because they had been written since the one before. Ascending.
	Pages []PageSum
}

// Register is a register of the hart by name.
type Register struct {
	Name  string
	Value uint64
}

// PartSum is the hash of a named part of State.
type PartSum struct {
	Name string
	Sum  [16]byte
}

// PageSum is the hash of a page of RAM, counted from the start of RAM.
type PageSum struct {
	Page uint32
	Sum  [16]byte
}
