package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"invoicebox-worker/internal/app"
)

// Bounds of the file.
const (
	maxFile     = 1 << 20
	maxAccounts = 1000
)

// A member is a setting as it stands in the file.
type member struct {
	node *yaml.Node
	from string // file and line
}

// readFile reads the file into its members. It checks their names, not yet
// their values.
func readFile(path string, known []string) (map[string]member, error) {
	wrong := func(right string) error {
		return &app.SettingError{Setting: "config", Value: path, Right: right}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, wrong("cannot be read: " + reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, wrong("must be a file")
	}
	f, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, wrong("cannot be read: " + reason(err))
	}
	defer func() { _ = f.Close() }()
	doc, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, wrong("cannot be read: " + reason(err))
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
	wrong := func(right string) error {
		return &app.SettingError{Setting: "config", Value: path, Right: right}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(doc))
	var root, more yaml.Node
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return map[string]member{}, nil
	} else if err != nil {
		// The parser's words may quote the file, where somebody may have put a
		// secret by mistake; its line number says enough.
		return nil, wrong("is not YAML" + yamlLine(err))
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, wrong("must hold one YAML document only")
	}
	top := root.Content[0]
	if isNull(top) {
		return map[string]member{}, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, wrong("must hold members such as `partner-id: …`")
	}
	return membersOf(top, path, "", known)
}

// membersOf lists a mapping's members. prefix says where it stands, for errors.
func membersOf(node *yaml.Node, path, prefix string, known []string) (map[string]member, error) {
	members := map[string]member{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		from := fmt.Sprintf("%s line %d", path, key.Line)
		if key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value) {
			return nil, &app.SettingError{Setting: "config", From: from, Value: keyText(key), Right: "is no member" + ofWhat(prefix) + nearest(key.Value, known)}
		}
		if _, ok := members[key.Value]; ok {
			return nil, &app.SettingError{Setting: prefix + key.Value, From: from, Right: "stands in the file twice"}
		}
		members[key.Value] = member{node: value, from: from}
	}
	return members, nil
}

func ofWhat(prefix string) string {
	if prefix == "" {
		return " of the file"
	}
	return " of " + strings.TrimSuffix(prefix, ".")
}

func keyText(key *yaml.Node) string {
	if key.Kind != yaml.ScalarNode {
		return "?"
	}
	return key.Value
}

// nearest proposes a name for a wrong one.
func nearest(wrong string, known []string) string {
	plain := strings.NewReplacer("-", "", "_", "", ".", "")
	for _, k := range known {
		if strings.EqualFold(plain.Replace(k), plain.Replace(wrong)) {
			return "; did you mean " + k + "?"
		}
	}
	return "; see --help for their names"
}

// assignMember sets a field from the file. Scalars must have the type that the
// field has, so that `concurrency: "64"` does not pass by accident.
func assignMember(r rule, target reflect.Value, m member) error {
	wrong := func(right string) error {
		return &app.SettingError{Setting: r.name, From: m.from, Value: m.node.Value, Right: right}
	}
	target.SetZero()
	nodes := []*yaml.Node{m.node}
	switch {
	case m.node.Kind == yaml.AliasNode:
		return wrong("must not be an alias; anchors and aliases are not read")
	case m.node.Kind == yaml.SequenceNode && (target.Kind() == reflect.Slice || target.Kind() == reflect.Map):
		nodes = m.node.Content
		if len(nodes) == 0 {
			return wrong("is an empty list")
		}
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
		if err := assign(r, target, node.Value); err != nil {
			return withSource(err, m.from)
		}
	}
	return nil
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" }

// fits tells whether a scalar has the type of a field. A text may look like
// something else: an id of digits, a time.
func fits(node *yaml.Node, target reflect.Value) bool {
	tag := node.ShortTag()
	switch target.Interface().(type) {
	case bool:
		return tag == "!!bool"
	case int:
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
	case int:
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
func readAccounts(m member, path string) ([]accountSettings, error) {
	if m.node.Kind != yaml.SequenceNode || len(m.node.Content) == 0 || len(m.node.Content) > maxAccounts {
		return nil, &app.SettingError{Setting: "accounts[]", From: m.from, Right: fmt.Sprintf("must be a list of 1 to %d accounts such as {name: …, partner-id: …, token-file: …}", maxAccounts)}
	}
	typ := reflect.TypeFor[accountSettings]()
	var known []string
	for field := range typ.Fields() {
		known = append(known, field.Tag.Get("name"))
	}
	var accounts []accountSettings
	for i, node := range m.node.Content {
		prefix := fmt.Sprintf("accounts[%d].", i)
		from := fmt.Sprintf("%s line %d", path, node.Line)
		if node.Kind != yaml.MappingNode {
			return nil, &app.SettingError{Setting: strings.TrimSuffix(prefix, "."), From: from, Right: "must be members such as {name: …, partner-id: …, token-file: …}"}
		}
		members, err := membersOf(node, path, prefix, known)
		if err != nil {
			return nil, err
		}
		var account accountSettings
		value := reflect.ValueOf(&account).Elem()
		for f := range typ.NumField() {
			r := fieldRule(typ.Field(f).Tag)
			one, ok := members[r.name]
			if !ok {
				if slices.Contains([]string{"name", "partner-id", "token-file"}, r.name) {
					return nil, &app.SettingError{Setting: prefix + r.name, From: from, Right: "must be set"}
				}
				continue
			}
			r.name = prefix + r.name
			if err := assignMember(r, value.Field(f), one); err != nil {
				return nil, err
			}
		}
		accounts = append(accounts, account)
	}
	return accounts, nil
}

// withSource adds where a value came from.
func withSource(err error, from string) error {
	if s, ok := errors.AsType[*app.SettingError](err); ok {
		told := *s
		told.From = from
		return &told
	}
	return err
}

// yamlLine gives the place of a syntax error.
func yamlLine(err error) string {
	var line int
	if _, scanErr := fmt.Sscanf(err.Error(), "yaml: line %d:", &line); scanErr == nil {
		return fmt.Sprintf(" near line %d", line)
	}
	return ""
}

// reason words an error of the file system without its operation and path.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
