// Churn is a program for guests: each mode works for ever at one thing that
// caches of a machine can get wrong, checks its own results, and prints
// NAME=NUMBER lines about what it has done.
//
//	churn pages MB   touches more memory than there is
//	churn map        maps, protects, moves and unmaps memory
//	churn code       writes code beside and ahead of what it executes
//	churn float      computes with floating point while signals come in
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "pages":
		mb, err := strconv.Atoi(os.Args[2])
		check(err)
		pages(mb)
	case "map":
		maps()
	case "code":
		code()
	case "float":
		floats()
	default:
		fail("no such mode: %q", mode)
	}
}

// fail ends the program with what it found wrong.
func fail(format string, a ...any) {
	fmt.Printf("churn: wrong: "+format+"\n", a...)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}
