// Package remote keeps cells by way of another process, the driver: the VM's
// process speaks a small protocol to it and links no database's client. The
// driver is either a process that the VM's process starts for itself (Exec), or
// one that listens on a unix socket and serves every VM of the host (Unix).
//
// Both, because they suit different hosts and differ in nothing but how a
// stream is had. A process of one's own needs no service, no path and no rights
// on a socket, dies with the VM's process (its input ends) and is started anew
// when it dies. A running driver keeps keys and passwords away from the user
// that runs VMs.
//
// # Protocol
//
// Each line is a JSON object. The driver speaks first:
//
//	{"lockstep":"cells","version":1,"durable":true,"outside":false,"why_not_outside":"..."}
//
// Then the client asks, in any number at once, and the driver answers in any
// order; content is in base64:
//
//	{"id":7,"op":"create","vm":"web","name":"run-1","content":"..."}
//	{"id":7,"content":"..."}
//	{"id":8,"op":"read","vm":"web","name":"run-2"}
//	{"id":8,"missing":true}
//	{"id":9,"op":"list","vm":"web","name":"run-"}
//	{"id":9,"names":["run-1"]}
//	{"id":10,"op":"ping"}
//	{"id":10,"error":"the server cannot be reached"}
//
// An answer is given only when what it says is durable. Whatever goes wrong on
// the way, the client asks again: a cell is created once, by whoever came first,
// and asking again answers the same (R16).
package remote

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Version is the protocol's; both sides must have the same.
const Version = 1

// hello is what a driver says first.
type hello struct {
	Lockstep      string `json:"lockstep"` // "cells"
	Version       int    `json:"version"`
	Durable       bool   `json:"durable"`
	WhyNotDurable string `json:"why_not_durable,omitempty"`
	Outside       bool   `json:"outside"`
	WhyNotOutside string `json:"why_not_outside,omitempty"`
}

func (h hello) check() error {
	if h.Lockstep != "cells" {
		return fmt.Errorf("what answers is no driver for cells")
	}
	if h.Version != Version {
		return fmt.Errorf("the driver speaks version %d and this program version %d: take both from one release", h.Version, Version)
	}
	return nil
}

type op string

const (
	opCreate op = "create"
	opRead   op = "read"
	opList   op = "list"
	opPing   op = "ping"
)

type request struct {
	ID      uint64 `json:"id"`
	Op      op     `json:"op"`
	VM      string `json:"vm,omitempty"`
	Name    string `json:"name,omitempty"` // of the cell; for opList, how names begin
	Content []byte `json:"content,omitempty"`
}

type answer struct {
	ID      uint64   `json:"id"`
	Content []byte   `json:"content,omitempty"`
	Missing bool     `json:"missing,omitempty"`
	Names   []string `json:"names,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Bounds of a line, in bytes. An answer may list every run of a VM.
const (
	maxRequest = 256 << 10
	maxAnswer  = 16 << 20
)

// lines reads one JSON object a line, of at most limit bytes.
func lines(r io.Reader, limit int) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), limit)
	return s
}

// next decodes the next line; io.EOF after the last.
func next(s *bufio.Scanner, v any) error {
	if !s.Scan() {
		if err := s.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	if err := json.Unmarshal(s.Bytes(), v); err != nil {
		return fmt.Errorf("the other side does not speak the protocol: %w", err)
	}
	return nil
}

// put writes v as one line.
func put(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		panic("BUG: remote: a message cannot be encoded: " + err.Error())
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
