// Command lockstep runs virtual machines that live on two hosts at once.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/lockstep-vm/lockstep/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(ctx, cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:]))
}
