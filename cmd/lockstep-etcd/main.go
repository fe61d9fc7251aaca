// Command lockstep-etcd lets etcd arbitrate: it is the driver between
// Lockstep's VMs and etcd, or an etcd of one member.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/lockstep-vm/lockstep/arbiter/etcd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(etcd.Main(ctx, etcd.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:]))
}
