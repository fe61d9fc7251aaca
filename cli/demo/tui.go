package demo

import "context"

func watch(ctx context.Context, s *scene, play func(context.Context) (*Report, error)) (*Report, error) {
	return play(ctx)
}
