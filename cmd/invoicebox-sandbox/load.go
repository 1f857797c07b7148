package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"invoicebox-worker/internal/envvar"
)

// prefix begins the environment variable of every setting.
const prefix = "INVOICEBOX_SANDBOX_"

// maxFile bounds the settings file, in bytes.
const maxFile = 1 << 20

// A loader gives kong what is not on the command line: the environment first,
// then the file. An empty variable counts as not set.
type loader struct {
	variables envvar.Variables
	members   map[string]any // of the file; nil before it was looked for
}

// Validate implements kong.Resolver.
func (l *loader) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (l *loader) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if flag.Name == "help" {
		return nil, nil
	}
	if flag.Name != "config" && l.members == nil {
		if err := l.load(ctx); err != nil {
			return nil, err
		}
	}
	if value, ok := l.variables.Lookup(flag.Name); ok {
		if flag.IsSlice() {
			return list(strings.Fields(value)), nil
		}
		return value, nil
	}
	return l.members[flag.Name], nil
}

func list(texts []string) []any {
	values := make([]any, len(texts))
	for i, t := range texts {
		values[i] = t
	}
	return values
}

func (l *loader) load(ctx *kong.Context) error {
	l.members = map[string]any{}
	known := ctx.Model.Flags
	i := slices.IndexFunc(known, func(f *kong.Flag) bool { return f.Name == "config" })
	path, _ := ctx.FlagValue(known[i]).(string)
	if path == "" {
		path, _ = l.variables.Lookup("config")
	}
	if path == "" {
		return nil
	}
	file, err := os.Open(path) // #nosec G304 -- whoever starts the program names the file
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil || len(text) > maxFile {
		return fmt.Errorf("--config %q: want a readable file of at most %d bytes", path, maxFile)
	}
	nodes := map[string]yaml.Node{}
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return fmt.Errorf("--config %q: want YAML with one member for each setting", path)
	}
	for name, node := range nodes {
		j := slices.IndexFunc(known, func(f *kong.Flag) bool { return f.Name == name && name != "config" && name != "help" })
		if j < 0 {
			return fmt.Errorf("--config %q, line %d: there is no setting %q", path, node.Line, name)
		}
		for _, n := range append(node.Content, &node) {
			if strings.Contains(n.Value, "${") {
				return fmt.Errorf("--config %q, line %d: %s holds %q: variables are not replaced; write the value itself", path, n.Line, name, n.Value)
			}
		}
		value, err := valueOf(node, known[j].IsSlice())
		if err != nil {
			return fmt.Errorf("--config %q, line %d: %s: %w", path, node.Line, name, err)
		}
		l.members[name] = value
	}
	return nil
}

// valueOf turns a node into what kong decodes: a text, or a list of texts.
func valueOf(node yaml.Node, many bool) (any, error) {
	if node.Kind == yaml.ScalarNode && !many {
		if node.Tag == "!!bool" || node.Tag == "!!null" {
			return map[string]any{"true": true, "false": false}[strings.ToLower(node.Value)], nil
		}
		return node.Value, nil
	}
	if node.Kind != yaml.SequenceNode || !many {
		return nil, errors.New(map[bool]string{true: "want a list", false: "want one value"}[many])
	}
	texts := make([]string, 0, len(node.Content))
	for _, n := range node.Content {
		if n.Kind != yaml.ScalarNode {
			return nil, errors.New("want a list of texts")
		}
		texts = append(texts, n.Value)
	}
	return list(texts), nil
}
