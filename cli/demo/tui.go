package demo

import (
	"context"
	"os"
)

func watch(ctx context.Context, s *scene, in, out *os.File, play func(context.Context) (*Report, error)) (*Report, error) {
	s.note = newPlain(out).note
	return play(ctx)
}
