package spec

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxSpec bounds a spec's size in bytes.
const maxSpec = 1 << 20

// A document is a YAML file while it is read; it gathers what is wrong.
type document struct {
	file   string // as the user named it
	dir    string // that relative paths are taken from
	errors []located
}

type located struct {
	line int
	text string
}

// wrong notes an error at a node.
func (d *document) wrong(n *yaml.Node, format string, args ...any) {
	d.errors = append(d.errors, located{n.Line, fmt.Sprintf(format, args...)})
}

// err is all that was noted, in the order of the lines.
func (d *document) err() error {
	if len(d.errors) == 0 {
		return nil
	}
	slices.SortStableFunc(d.errors, func(a, b located) int { return cmp.Compare(a.line, b.line) })
	var lines []string
	for _, e := range d.errors {
		lines = append(lines, fmt.Sprintf("spec: %s:%d: %s", d.file, e.line, e.text))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// yamlLine is how the parser names a line.
var yamlLine = regexp.MustCompile(`^yaml: line ([0-9]+): `)

// parse reads the file and is its top mapping.
func (d *document) parse() (*yaml.Node, error) {
	f, err := os.Open(d.file)
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	if len(text) > maxSpec {
		return nil, fmt.Errorf("spec: %s is longer than %d bytes; is it a spec?", d.file, maxSpec)
	}
	var first, second yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(text))
	err = documents.Decode(&first)
	switch {
	case err == io.EOF:
		return nil, fmt.Errorf("spec: %s:1: the file is empty; examples/web.yaml shows what a spec has", d.file)
	case err != nil:
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			return nil, fmt.Errorf("spec: %s:%s: not YAML: %s", d.file, m[1], err.Error()[len(m[0]):])
		}
		return nil, fmt.Errorf("spec: %s: not YAML: %w", d.file, err)
	}
	if documents.Decode(&second) != io.EOF {
		return nil, fmt.Errorf("spec: %s: a second document begins (or the rest is not YAML); a file describes one VM", d.file)
	}
	return first.Content[0], nil
}

// keys has the value of each key that was there.
type keys map[string]*yaml.Node

// mapping hands each value of a mapping to the reader of its key; nil if n is
// no mapping.
func (d *document) mapping(n *yaml.Node, what string, readers map[string]func(*yaml.Node)) keys {
	known := slices.Sorted(maps.Keys(readers))
	if n.Kind != yaml.MappingNode {
		d.wrong(n, "%s is a mapping with the keys %s, not %s", what, strings.Join(known, ", "), kindOf(n))
		return nil
	}
	at := keys{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := readers[key.Value]
		switch {
		case !ok || key.Kind != yaml.ScalarNode:
			d.wrong(key, "unknown key %q in %s; the keys are %s", key.Value, what, strings.Join(known, ", "))
		case at[key.Value] != nil:
			d.wrong(key, "%s is there twice; the first is on line %d", key.Value, at[key.Value].Line)
		default:
			at[key.Value] = value
			read(value)
		}
	}
	return at
}

// each hands the elements of a list to read.
func (d *document) each(n *yaml.Node, key string, most int, read func(*yaml.Node)) {
	switch {
	case n.Kind != yaml.SequenceNode:
		d.wrong(n, "%s is a list, like %s: [{...}], not %s", key, key, kindOf(n))
	case len(n.Content) > most:
		d.wrong(n, "%s has %d elements; at most %d are possible", key, len(n.Content), most)
	default:
		for _, e := range n.Content {
			read(e)
		}
	}
}

// scalar is the value of a scalar of any type, as it is written.
func (d *document) scalar(n *yaml.Node, key, want string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		d.wrong(n, "%s is %s; write %s", key, kindOf(n), want)
		return ""
	}
	return n.Value
}

// text is the value of a text.
func (d *document) text(n *yaml.Node, key string) string {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Value == "" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" && n.Value != "" {
			hint = fmt.Sprintf("; write %q, with the quotes, if that is meant", n.Value)
		}
		d.wrong(n, "%s is a text, not %s%s", key, kindOf(n), hint)
		return ""
	}
	if strings.ContainsAny(n.Value, "\x00\n") {
		d.wrong(n, "%s has a line break or a zero in it", key)
		return ""
	}
	return n.Value
}

func (d *document) boolean(n *yaml.Node, key string) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		d.wrong(n, "%s is true or false, not %s", key, kindOf(n))
		return false
	}
	var v bool
	if err := n.Decode(&v); err != nil {
		d.wrong(n, "%s is true or false", key)
	}
	return v
}

// path makes a path absolute.
func (d *document) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(d.dir, p)
}

// kindOf names what stands at a node.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (they do not work here)"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	}
	if n.Value == "" {
		return "an empty text"
	}
	return fmt.Sprintf("the text %q", n.Value)
}
