package local

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// What the map costs a guest that writes 4 KiB at a time, against the file:
//
//	go test ./storage/local -run NONE -bench 4K -benchtime 50000x
func Benchmark4K(b *testing.B) {
	const size = 1 << 30
	for _, order := range []string{"sequential", "random"} {
		next := func(rng *rand.Rand, i int) int64 {
			if order == "random" {
				return rng.Int64N(size/4096) * 4096
			}
			return int64(i) * 4096 % size
		}
		p := make([]byte, 4096)
		image := func(b *testing.B) string {
			path := filepath.Join(b.TempDir(), "disk")
			must(nil, os.WriteFile(path, nil, 0o600))
			must(nil, os.Truncate(path, size))
			return path
		}
		b.Run(order+"/file", func(b *testing.B) {
			f := must(OS{}.Open(image(b))).(File)
			defer f.Close()
			rng := rand.New(rand.NewPCG(1, 1))
			b.SetBytes(4096)
			for i := 0; b.Loop(); i++ {
				must(f.WriteAt(p, next(rng, i)))
			}
		})
		for _, warm := range []bool{false, true} {
			name := order + "/copy"
			if warm {
				name += "-warm"
			}
			b.Run(name, func(b *testing.B) {
				c := must(Open(context.Background(), image(b), Options{VM: "v", Adopt: true})).(*Copy)
				defer c.Close()
				must(nil, c.Enter(gen0))
				if warm {
					must(nil, c.intent.mark(0, c.intent.h.regions()-1))
				}
				rng := rand.New(rand.NewPCG(1, 1))
				b.SetBytes(4096)
				for i := 0; b.Loop(); i++ {
					must(nil, c.WriteAt(p, next(rng, i)))
				}
			})
		}
	}
}
