package schemas_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/schemas"
)

func schemaNames() []string {
	return slices.Concat(schemas.InputTypes(), schemas.OutputTypes(), []string{schemas.EnvelopeInput, schemas.EnvelopeOutput})
}

// examples reads a folder of examples and fails when it is empty.
func examples(t *testing.T, name, kind string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("examples", name, kind, "*.json"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%s: %d %s examples, %v", name, len(files), kind, err)
	}
	found := make(map[string][]byte)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(file), ".json")] = text
	}
	return found
}

func TestExamplesFitTheirSchemas(t *testing.T) {
	for _, name := range schemaNames() {
		for file, text := range examples(t, name, "valid") {
			if err := schemas.Validate(name, text); err != nil {
				t.Errorf("%s/%s: %v", name, file, err)
			}
		}
		for file, text := range examples(t, name, "invalid") {
			if _, ok := errors.AsType[*schemas.SchemaError](schemas.Validate(name, text)); !ok {
				t.Errorf("%s/%s fits", name, file)
			}
		}
	}
}

func TestOutputExamplesAreReadAndWritten(t *testing.T) {
	for _, typ := range schemas.OutputTypes() {
		envelope := event(eachData("shop-1")[slices.Index(schemas.OutputTypes(), typ)])
		for kind, wanted := range map[string]bool{"valid": true, "invalid": false} {
			for file, text := range examples(t, typ, kind) {
				m, err := schemas.Encode(envelope, schemas.FormatBinary)
				if err != nil {
					t.Fatal(err)
				}
				m.Value = text
				// The envelope's subject and key follow the example's shop.
				shop, key := subjectIn(text)
				m.Key = []byte(key)
				for i := range m.Headers {
					if m.Headers[i].Key == "ce_subject" {
						m.Headers[i].Value = []byte(shop)
					}
				}
				e, err := schemas.DecodeOutput(m, schemas.Strict)
				if (err == nil) != wanted {
					t.Errorf("%s/%s: %v", typ, file, err)
				}
				if err != nil {
					continue
				}
				again, err := schemas.Encode(e, schemas.FormatBinary)
				if err != nil {
					t.Errorf("%s/%s cannot be written: %v", typ, file, err)
				}
				var before, after any
				if json.Unmarshal(text, &before) != nil || json.Unmarshal(again.Value, &after) != nil || !cmp.Equal(before, after) {
					t.Errorf("%s/%s is written otherwise: %s", typ, file, again.Value)
				}
			}
		}
	}
}

func subjectIn(text []byte) (subject, key string) {
	var d struct {
		ShopID string `json:"shopId"`
		Topic  string `json:"topic"`
		Part   int    `json:"partition"`
		Offset int64  `json:"offset"`
	}
	_ = json.Unmarshal(text, &d)
	if d.Topic != "" {
		m, err := schemas.Encode(event(schemas.DeadLetter{Topic: d.Topic, Partition: d.Part, Offset: d.Offset, Reason: schemas.ReasonMissing, Time: noon}), "")
		if err != nil {
			return "", ""
		}
		e, _ := schemas.DecodeOutput(m)
		return e.Subject, string(m.Key)
	}
	return d.ShopID, d.ShopID
}

// A word that only one of code and schema knows would be refused on one side.
func TestClosedSetsAreTheSchemas(t *testing.T) {
	for _, c := range []struct {
		schema, member string
		words          []string
	}{
		{schemas.TypeInvitationFailed, "reason", texts(schemas.FailureReasons(schemas.TypeInvitationFailed))},
		{schemas.TypeActivationFailed, "reason", texts(schemas.FailureReasons(schemas.TypeActivationFailed))},
		{schemas.TypeInvitationFailed, "action", []string{"request_new_code", "contact_support", "none"}},
		{schemas.TypeActivationFailed, "action", []string{"request_new_code", "contact_support", "none"}},
		{schemas.TypeInvited, "outcome", []string{"sent", "already_invited", "already_active"}},
		{schemas.TypeActivated, "verification", []string{"verified", "pending"}},
		{schemas.TypeDeadLetter, "reason", texts(schemas.InvalidReasons())},
		{schemas.EnvelopeInput, "type", schemas.InputTypes()},
		{schemas.EnvelopeOutput, "type", schemas.OutputTypes()},
	} {
		var document struct {
			Properties map[string]struct {
				Enum        []string `json:"enum"`
				Description string   `json:"description"`
			} `json:"properties"`
		}
		text, err := schemas.Schema(c.schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &document, json.RejectUnknownMembers(false)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.words, document.Properties[c.member].Enum); diff != "" {
			t.Errorf("%s %s: %s", c.schema, c.member, diff)
		}
		if c.member == "reason" {
			for _, word := range c.words {
				meaning, _ := schemas.DescribeInvalidReason(schemas.InvalidReason(word))
				if !strings.Contains(document.Properties[c.member].Description, word+": "+meaning) {
					t.Errorf("%s does not describe %s", c.schema, word)
				}
			}
		}
	}
}

func texts[T ~string](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

func TestSchemasDescribeThemselves(t *testing.T) {
	for _, name := range schemaNames() {
		text, err := schemas.Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Schema      string                    `json:"$schema"`
			ID          string                    `json:"$id"`
			Title       string                    `json:"title"`
			Description string                    `json:"description"`
			Properties  map[string]map[string]any `json:"properties"`
			Additional  bool                      `json:"additionalProperties"`
		}
		if err := json.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		if document.Schema != "https://json-schema.org/draft/2020-12/schema" || document.ID != schemas.SchemaID(name) || document.Title == "" || document.Description == "" {
			t.Errorf("%s: %q %q %q", name, document.Schema, document.ID, document.Title)
		}
		for member, property := range document.Properties {
			if property["title"] == nil {
				t.Errorf("%s: %s has no title", name, member)
			}
		}
		liberal := slices.Contains(schemas.InputTypes(), name) || name == schemas.EnvelopeInput
		if document.Additional != liberal {
			t.Errorf("%s: additional members %v", name, document.Additional)
		}
	}
	if _, err := schemas.Schema("../json/shop.invoicebox_invited"); !errors.Is(err, schemas.ErrNoSchema) {
		t.Errorf("a schema of no name: %v", err)
	}
	if err := schemas.Validate("shop.closed", []byte("{}")); !errors.Is(err, schemas.ErrNoSchema) {
		t.Errorf("a schema of no name: %v", err)
	}
}

func TestValidateNamesThePlaceAndNoValue(t *testing.T) {
	err := schemas.Validate(schemas.TypeProviderSelected, []byte(`{"shopId":"s","provider":"invoicebox","email":"marked-value","marked-member":1,"partnerAccount":5}`))
	mismatch, ok := errors.AsType[*schemas.SchemaError](err)
	if !ok || strings.Contains(err.Error(), "marked") {
		t.Fatalf("%v", err)
	}
	for _, want := range []schemas.Violation{{Location: "/email", Keyword: "pattern"}, {Location: "/partnerAccount", Keyword: "type"}} {
		if !slices.Contains(mismatch.Violations, want) {
			t.Errorf("%v lacks %v", err, want)
		}
	}
	err = schemas.Validate(schemas.TypeActivated, []byte(`{"marked-member":{"marked":1}}`))
	if err == nil || strings.Contains(err.Error(), "marked") {
		t.Errorf("%v", err)
	}
	err = schemas.Validate(schemas.TypeActivated, []byte(`{"shopId":1,"partnerAccount":1,"merchantId":1,"activatedAt":1,"verification":1,"credentials":{"ref":1,"store":1,"key":1,"version":"1","fields":[1,2,3,4]}}`))
	if mismatch, ok := errors.AsType[*schemas.SchemaError](err); !ok || len(mismatch.Violations) != 8 {
		t.Errorf("not bounded: %v", err)
	}
	for _, absurd := range []string{`{"x":1e999999999}`, `{"x":` + strings.Repeat("9", 2000) + `}`} {
		if err := schemas.Validate(schemas.TypeInvited, []byte(absurd)); err == nil || !strings.HasSuffix(err.Error(), ": JSON ") {
			t.Errorf("an absurd number: %v", err)
		}
	}
}

// Each schema shows examples, and they fit it.
func TestSchemasHaveExamples(t *testing.T) {
	for _, name := range schemaNames() {
		text, err := schemas.Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Examples []jsontext.Value `json:"examples"`
		}
		if err := json.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		if len(document.Examples) == 0 {
			t.Errorf("%s has none", name)
		}
		for i, example := range document.Examples {
			if err := schemas.Validate(name, example); err != nil {
				t.Errorf("%s, example %d: %v", name, i, err)
			}
		}
	}
}
