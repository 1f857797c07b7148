package schemas

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The envelopes of structured mode, which have schemas of their own; names for
// [Schema] and [Validate].
const (
	EnvelopeInput  = "cloudevents.input"
	EnvelopeOutput = "cloudevents.output"
)

//go:embed json/*.json
var schemaFiles embed.FS

// ErrNoSchema says that the name is neither an event nor an envelope.
var ErrNoSchema = errors.New("schemas: there is no schema of that name")

// SchemaID is the $id of a schema; events carry that of their data as
// dataschema. Empty for a name that has none.
func SchemaID(name string) string {
	if !inList(inputTypes, name) && outputDecoder(name) == nil && name != EnvelopeInput && name != EnvelopeOutput {
		return ""
	}
	return "urn:invoicebox-worker:" + name + ":1"
}

// Schema returns the JSON Schema (draft 2020-12) of an event's data, or of an
// envelope.
func Schema(name string) ([]byte, error) {
	if SchemaID(name) == "" {
		return nil, ErrNoSchema
	}
	return schemaFiles.ReadFile("json/" + name + ".json")
}

// A Violation is one place where data does not fit its schema.
type Violation struct {
	Location string // JSON pointer into the data, names of the contract only
	Keyword  string // of the schema, such as "required" or "maxLength"
}

// A SchemaError is what [Validate] found. It holds no value of the data.
type SchemaError struct{ Violations []Violation }

// Error lists the places.
func (m *SchemaError) Error() string {
	var b strings.Builder
	b.WriteString("schemas: data does not fit its schema:")
	for i, v := range m.Violations {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %s", v.Keyword, v.Location)
	}
	return b.String()
}

// maxViolations bounds a Mismatch.
const maxViolations = 8

var compiled = sync.OnceValues(compile)

func compile() (map[string]*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	names := append(append(InputTypes(), OutputTypes()...), EnvelopeInput, EnvelopeOutput)
	for _, name := range names {
		text, err := Schema(name)
		if err != nil {
			return nil, err
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		if err := compiler.AddResource(SchemaID(name), document); err != nil {
			return nil, err
		}
	}
	schemas := make(map[string]*jsonschema.Schema, len(names))
	for _, name := range names {
		schema, err := compiler.Compile(SchemaID(name))
		if err != nil {
			return nil, err
		}
		schemas[name] = schema
	}
	return schemas, nil
}

// Validate checks JSON against the schema of an event's data, or of an
// envelope; the error is a [*Mismatch], or [ErrNoSchema]. It is slow (tens of
// microseconds) and for tests, tools and strict readers; [Decoder.Decode] and
// [Encode] check the same rules in their own way.
//
// The limits in bytes and which partner accounts exist are beyond a schema.
// JSON that is broken, that repeats a member, that is nested too deep or holds
// a number of absurd size does not fit any schema.
func Validate(name string, data []byte) error {
	all, err := compiled()
	if err != nil {
		return err
	}
	schema, ok := all[name]
	if !ok {
		return ErrNoSchema
	}
	if exceedsDepth(data, MaxDepth) || !jsontext.Value(data).IsValid() || hasAbsurdNumber(data) {
		return &SchemaError{[]Violation{{"", "JSON"}}}
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return &SchemaError{[]Violation{{"", "JSON"}}}
	}
	failure, ok := errors.AsType[*jsonschema.ValidationError](schema.Validate(value))
	if !ok {
		return nil
	}
	return &SchemaError{leaves(nil, failure)}
}

// leaves collects what failed in the end. The error's own text quotes values
// and is not used.
func leaves(list []Violation, e *jsonschema.ValidationError) []Violation {
	if len(list) >= maxViolations {
		return list
	}
	if len(e.Causes) == 0 {
		v := Violation{}
		for _, token := range e.InstanceLocation {
			v.Location += "/" + pointerEscaper.Replace(token)
		}
		if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
			v.Keyword = path[0]
		}
		return append(list, v)
	}
	for _, cause := range e.Causes {
		list = leaves(list, cause)
	}
	return list
}

// hasAbsurdNumber finds numbers that the schema library would spend all memory
// on: it computes with exact fractions.
func hasAbsurdNumber(data []byte) bool {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(bytes.Clone(data)))
	for {
		if decoder.PeekKind() != '0' {
			if _, err := decoder.ReadToken(); err != nil {
				return false
			}
			continue
		}
		number, err := decoder.ReadValue()
		if err != nil {
			return false
		}
		exponent := bytes.IndexAny(number, "eE")
		if len(number) > 1024 || exponent >= 0 && len(number)-exponent > 5 {
			return true
		}
	}
}
