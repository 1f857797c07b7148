package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Bounds of the file.
const (
	maxFile     = 1 << 20
	maxAccounts = 1000
)

// A member is a member of the file.
type member struct {
	node   *yaml.Node
	source string // file and line
}

// readFile reads the members of a file. It checks their names, not their values.
func readFile(path string, known []string) (map[string]member, error) {
	wrong := func(want string) error {
		return &Error{Setting: "config", Value: path, Want: want}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, wrong("cannot be read: " + ErrorText(err))
	}
	if !info.Mode().IsRegular() {
		return nil, wrong("must be a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, wrong("cannot be read: " + ErrorText(err))
	}
	defer func() { _ = f.Close() }()
	doc, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, wrong("cannot be read: " + ErrorText(err))
	}
	if len(doc) > maxFile {
		return nil, wrong(fmt.Sprintf("is larger than %d bytes", maxFile))
	}
	members, err := parseFile(path, doc, known)
	if err != nil {
		return nil, err
	}
	return members, nil
}

func parseFile(path string, doc []byte, known []string) (map[string]member, error) {
	wrong := func(want string) error {
		return &Error{Setting: "config", Value: path, Want: want}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(doc))
	var root, more yaml.Node
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return map[string]member{}, nil
	} else if err != nil {
		// The parser's message may quote the file, which may contain a secret by mistake.
		return nil, wrong("is not YAML" + yamlLine(err))
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, wrong("must contain one YAML document only")
	}
	top := root.Content[0]
	if isNull(top) {
		return map[string]member{}, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, wrong("must contain members such as `partner-id: …`")
	}
	return membersOf(top, path, "", known)
}

// membersOf lists the members of a mapping. prefix is its place, for errors.
func membersOf(node *yaml.Node, path, prefix string, known []string) (map[string]member, error) {
	members := map[string]member{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		source := fmt.Sprintf("%s:%d", path, key.Line)
		if key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value) {
			return nil, &Error{Source: source, Want: fmt.Sprintf("unknown setting %s%s", quote(prefix+keyText(key)), nearest(key.Value, known))}
		}
		if _, ok := members[key.Value]; ok {
			return nil, &Error{Setting: prefix + key.Value, Source: source, Want: "is set twice in the file"}
		}
		members[key.Value] = member{node: value, source: source}
	}
	return members, nil
}

func keyText(key *yaml.Node) string {
	if key.Kind != yaml.ScalarNode {
		return "?"
	}
	return key.Value
}

// nearest proposes a setting for an unknown one.
func nearest(wrong string, known []string) string {
	plain := strings.NewReplacer("-", "", "_", "", ".", "")
	for _, k := range known {
		if strings.EqualFold(plain.Replace(k), plain.Replace(wrong)) {
			return " (did you mean " + strconv.Quote(k) + "?)"
		}
	}
	return "; --help lists the settings"
}

// assignMember sets a field from the file. Scalars must have the type of the field:
// `concurrency: "64"` is refused.
func (p Program) assignMember(r rule, target reflect.Value, m member) error {
	wrong := func(want string) error {
		e := &Error{Setting: r.name, Source: m.source, Value: m.node.Value, Want: want}
		if r.secret {
			e.Value = ""
		}
		return e
	}
	target.SetZero()
	nodes := []*yaml.Node{m.node}
	switch {
	case m.node.Kind == yaml.AliasNode:
		return wrong("must not be an alias: anchors and aliases are not supported")
	case m.node.Kind == yaml.SequenceNode && (target.Kind() == reflect.Slice || target.Kind() == reflect.Map):
		nodes = m.node.Content
		if len(nodes) == 0 {
			return wrong("is an empty list")
		}
	case target.Kind() == reflect.Slice && r.whole:
		return wrong("must be a list of texts")
	case m.node.Kind == yaml.MappingNode && target.Kind() == reflect.Map:
		nodes = nil
		for i := 0; i+1 < len(m.node.Content); i += 2 {
			key, value := m.node.Content[i], m.node.Content[i+1]
			if key.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode {
				return wrong("must be pairs of name and topic")
			}
			pair := *value
			pair.Value = key.Value + "=" + value.Value
			nodes = append(nodes, &pair)
		}
	}
	for _, node := range nodes {
		if node.Kind != yaml.ScalarNode || !fits(node, target) {
			return wrong("must be " + kindName(target))
		}
		if err := p.assign(r, target, node.Value); err != nil {
			return withSource(err, m.source)
		}
	}
	return nil
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" }

// fits reports whether a scalar has the type of a field. A text may look like
// another type: an id of digits, a time.
func fits(node *yaml.Node, target reflect.Value) bool {
	tag := node.ShortTag()
	switch target.Interface().(type) {
	case bool:
		return tag == "!!bool"
	case int, *uint64:
		return tag == "!!int"
	case time.Duration:
		return tag == "!!str"
	}
	return tag == "!!str" || tag == "!!int" || tag == "!!float" || tag == "!!timestamp"
}

func kindName(target reflect.Value) string {
	switch target.Interface().(type) {
	case bool:
		return "true or false"
	case int, *uint64:
		return "a whole number without quotes"
	case time.Duration:
		return "a time with its unit, such as 30s"
	case []string:
		return "a text, or a list of texts"
	case map[string]string:
		return "a mapping of names to topics"
	}
	return "a text"
}

// readAccounts reads the file's accounts.
func (p Program) readAccounts(m member, path string) ([]Account, error) {
	if m.node.Kind != yaml.SequenceNode || len(m.node.Content) == 0 || len(m.node.Content) > maxAccounts {
		return nil, &Error{Setting: "accounts[]", Source: m.source, Want: fmt.Sprintf("must be a list of 1 to %d accounts such as {name: …, partner-id: …, token-file: …}", maxAccounts)}
	}
	typ := reflect.TypeFor[Account]()
	var known []string
	for field := range typ.Fields() {
		known = append(known, field.Tag.Get("name"))
	}
	var accounts []Account
	for i, node := range m.node.Content {
		prefix := fmt.Sprintf("accounts[%d].", i)
		source := fmt.Sprintf("%s:%d", path, node.Line)
		if node.Kind != yaml.MappingNode {
			return nil, &Error{Setting: strings.TrimSuffix(prefix, "."), Source: source, Want: "must be members such as {name: …, partner-id: …, token-file: …}"}
		}
		members, err := membersOf(node, path, prefix, known)
		if err != nil {
			return nil, err
		}
		var account Account
		value := reflect.ValueOf(&account).Elem()
		for f := range typ.NumField() {
			tag := typ.Field(f).Tag
			r := newRule(tag.Get("name"), tag)
			one, ok := members[r.name]
			if !ok {
				if slices.Contains([]string{"name", "partner-id", "token-file"}, r.name) {
					return nil, &Error{Setting: prefix + r.name, Source: source, Want: "must be set"}
				}
				continue
			}
			r.name = prefix + r.name
			if err := p.assignMember(r, value.Field(f), one); err != nil {
				return nil, err
			}
		}
		accounts = append(accounts, account)
	}
	return accounts, nil
}

// withSource adds the source of a value to an error.
func withSource(err error, source string) error {
	if e, ok := errors.AsType[*Error](err); ok {
		sourced := *e
		sourced.Source = source
		return &sourced
	}
	return err
}

// yamlLine returns the place of a syntax error.
func yamlLine(err error) string {
	var line int
	if _, scanErr := fmt.Sscanf(err.Error(), "yaml: line %d:", &line); scanErr == nil {
		return fmt.Sprintf(" near line %d", line)
	}
	return ""
}

// ErrorText returns the text of an error of the file system without operation and path.
func ErrorText(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
