package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strings"
)

// A kernel is what the guest takes from the kernel package.
type kernel struct {
	version string // as uname -r prints it
	image   []byte // raw RISC-V Image
	modules moduleSet
	builtin []byte // modules.builtin
}

// readKernel takes the kernel and the named modules out of a kernel package.
// Modules may depend on others that are not named: the package is then read
// once more for those.
func readKernel(file string, modules []string, progress func(done int64)) (*kernel, error) {
	wanted := map[string]bool{}
	for _, m := range modules {
		wanted[moduleName(m)] = true
	}
	for {
		t := newTree()
		err := unpackDeb(file, t, progress, func(name string) bool {
			return strings.HasPrefix(name, "boot/vmlinux-") || path.Base(name) == "modules.builtin" ||
				isModule(name) && wanted[moduleName(name)]
		})
		if err != nil {
			return nil, err
		}
		k, err := kernelFrom(t, modules)
		if err != nil {
			return nil, err
		}
		missing := k.modules.missing(k.builtinNames())
		if len(missing) == 0 {
			return k, nil
		}
		for _, m := range missing {
			if wanted[m] {
				return nil, fmt.Errorf("the package has no module %s, which others depend on", m)
			}
			wanted[m] = true
		}
	}
}

func kernelFrom(t *tree, modules []string) (*kernel, error) {
	k := &kernel{modules: moduleSet{}}
	for name, n := range t.files {
		if v, ok := strings.CutPrefix(name, "boot/vmlinux-"); ok && n.data != nil {
			if k.version != "" {
				return nil, fmt.Errorf("two kernels in one package: %s and %s", k.version, v)
			}
			k.version, k.image = v, n.data
		}
	}
	if k.version == "" {
		return nil, fmt.Errorf("no /boot/vmlinux-* in the package")
	}
	var err error
	if k.image, err = rawImage(k.image); err != nil {
		return nil, fmt.Errorf("vmlinux-%s: %w", k.version, err)
	}
	dir := "usr/lib/modules/" + k.version + "/"
	if _, n := t.resolve(dir + "modules.builtin"); n != nil {
		k.builtin = n.data
	}
	for name, n := range t.files {
		rest, ok := strings.CutPrefix(name, dir)
		if !ok || !isModule(name) || n.left || n.data == nil {
			continue
		}
		m, err := readModule(rest, n.data)
		if err != nil {
			return nil, err
		}
		k.modules[m.name] = m
	}
	builtin := k.builtinNames()
	for _, m := range modules {
		if name := moduleName(m); k.modules[name] == nil && !builtin[name] {
			return nil, fmt.Errorf("the package has no module %s", m)
		}
	}
	return k, nil
}

func (k *kernel) builtinNames() map[string]bool {
	names := map[string]bool{}
	for _, line := range strings.Fields(string(k.builtin)) {
		names[moduleName(line)] = true
	}
	return names
}

// rawImage checks for the header of a RISC-V Image (Documentation/arch/riscv/
// boot-image-header), which a gzip file may be wrapped around.
func rawImage(b []byte) ([]byte, error) {
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		r, err := decompress(bytes.NewReader(b), ".gz")
		if err != nil {
			return nil, err
		}
		if b, err = io.ReadAll(io.LimitReader(r, maxOneFile)); err != nil {
			return nil, err
		}
	}
	const magic2 = 0x05435352 // "RSC\x05" at offset 56
	if len(b) < 64 || binary.LittleEndian.Uint32(b[56:]) != magic2 {
		return nil, fmt.Errorf("it is no raw RISC-V Image")
	}
	return b, nil
}
