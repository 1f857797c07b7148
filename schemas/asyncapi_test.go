package schemas_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"gopkg.in/yaml.v3"

	"invoicebox-worker/schemas"
)

func readAsyncAPI(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	return document
}

// refs walks a document and calls visit with each $ref.
func refs(node any, visit func(string)) {
	switch node := node.(type) {
	case map[string]any:
		for name, child := range node {
			if ref, ok := child.(string); ok && name == "$ref" {
				visit(ref)
			}
			refs(child, visit)
		}
	case []any:
		for _, child := range node {
			refs(child, visit)
		}
	}
}

func TestAsyncAPIRefsResolve(t *testing.T) {
	document := readAsyncAPI(t)
	count := 0
	refs(document, func(ref string) {
		count++
		if file, ok := strings.CutPrefix(ref, "./"); ok {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Errorf("%s: %v", ref, err)
			}
			var schema map[string]any
			if err := json.Unmarshal(text, &schema); err != nil {
				t.Errorf("%s: %v", ref, err)
			}
			return
		}
		if resolve(document, ref) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	})
	if count < 40 {
		t.Errorf("only %d references", count)
	}
}

func resolve(document map[string]any, ref string) any {
	var node any = document
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	for step := range strings.SplitSeq(path, "/") {
		object, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		node = object[step]
	}
	return node
}

// Each event has a channel of its name, a message with its schema, and an
// operation in the right direction.
func TestAsyncAPINamesEveryEvent(t *testing.T) {
	document := readAsyncAPI(t)
	if document["asyncapi"] != "3.0.0" {
		t.Errorf("version %v", document["asyncapi"])
	}
	directions := make(map[string]string)
	for _, operation := range document["operations"].(map[string]any) {
		o := operation.(map[string]any)
		channel := resolve(document, o["channel"].(map[string]any)["$ref"].(string)).(map[string]any)
		directions[channel["address"].(string)] = o["action"].(string)
	}
	payloads := make(map[string]string)
	for _, channel := range document["channels"].(map[string]any) {
		for _, message := range channel.(map[string]any)["messages"].(map[string]any) {
			m := resolve(document, message.(map[string]any)["$ref"].(string)).(map[string]any)
			if m["name"] != channel.(map[string]any)["address"] {
				t.Errorf("%v is on the channel of %v", m["name"], channel.(map[string]any)["address"])
			}
			payloads[m["name"].(string)] = m["payload"].(map[string]any)["$ref"].(string)
		}
	}
	for _, typ := range append(schemas.InputTypes(), schemas.OutputTypes()...) {
		want := "send"
		if slices.Contains(schemas.InputTypes(), typ) {
			want = "receive"
		}
		if directions[typ] != want || payloads[typ] != "./json/"+typ+".json" {
			t.Errorf("%s: %q with %q", typ, directions[typ], payloads[typ])
		}
	}
}

// The headers that are promised are the headers that are written.
func TestAsyncAPIHeadersAreWhatIsWritten(t *testing.T) {
	document := readAsyncAPI(t)
	for _, data := range eachData("shop-1") {
		e := event(data)
		name := "resultHeaders"
		if e.Type == schemas.TypeDeadLetter {
			name = "deadLetterHeaders"
		}
		promised := resolve(document, "#/components/schemas/"+name).(map[string]any)
		m, err := schemas.Encode(e, schemas.FormatBinary)
		if err != nil {
			t.Fatal(err)
		}
		var written []string
		for _, h := range m.Headers {
			written = append(written, h.Key)
			if promised["properties"].(map[string]any)[h.Key] == nil {
				t.Errorf("%s: header %s is not promised", e.Type, h.Key)
			}
		}
		for _, required := range promised["required"].([]any) {
			if !slices.Contains(written, required.(string)) {
				t.Errorf("%s: header %s is not written", e.Type, required)
			}
		}
	}
}
