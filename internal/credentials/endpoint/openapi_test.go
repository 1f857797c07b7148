package endpoint

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

const openapiFile = "../../../schemas/openapi.yaml"

// A description is the OpenAPI document.
type description struct {
	t        *testing.T
	doc      map[string]any
	compiler *jsonschema.Compiler
}

func readOpenAPI(t *testing.T) *description {
	t.Helper()
	text, err := os.ReadFile(openapiFile)
	if err != nil {
		t.Fatal(err)
	}
	d := &description{t: t, compiler: jsonschema.NewCompiler()}
	if err := yaml.Unmarshal(text, &d.doc); err != nil {
		t.Fatal(err)
	}
	if err := d.compiler.AddResource("openapi.json", d.doc); err != nil {
		t.Fatal(err)
	}
	return d
}

// at returns what a pointer names, and the pointer behind a $ref.
func (d *description) at(pointer string) (map[string]any, string) {
	d.t.Helper()
	var v any = d.doc
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		m, ok := v.(map[string]any)
		if v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]; !ok || v == nil {
			d.t.Fatalf("the document has no %s", pointer)
		}
	}
	m, _ := v.(map[string]any)
	if to, ok := m["$ref"].(string); ok {
		return d.at(to)
	}
	return m, pointer
}

// fits validates a value with the schema at a pointer.
func (d *description) fits(pointer string, value any) error {
	d.t.Helper()
	schema, err := d.compiler.Compile("openapi.json" + pointer)
	if err != nil {
		d.t.Fatal(err)
	}
	return schema.Validate(value)
}

const operation = "#/paths/~1v1~1credentials/get"

// check compares a response with the document.
func (d *description) check(resp *http.Response, body []byte) error {
	d.t.Helper()
	response, pointer := d.at(operation + "/responses/" + strconv.Itoa(resp.StatusCode))
	headers, _ := response["headers"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		header, at := d.at(pointer + "/headers/" + name)
		value := resp.Header.Get(name)
		if value == "" && header["required"] == true {
			return fmt.Errorf("no header %s", name)
		}
		if value != "" {
			if err := d.fits(at+"/schema", value); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
		}
	}
	content, _ := response["content"].(map[string]any)
	if len(content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("a body: %s", body)
		}
		return nil
	}
	typ := resp.Header.Get("Content-Type")
	if content[typ] == nil {
		return fmt.Errorf("content type %q", typ)
	}
	var value map[string]any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	_, at := d.at(pointer + "/content/" + strings.ReplaceAll(typ, "/", "~1") + "/schema")
	if err := d.fits(at, value); err != nil {
		return err
	}
	known := d.members(at)
	for name := range value {
		if !slices.Contains(known, name) {
			return fmt.Errorf("member %s is not described", name)
		}
	}
	return nil
}

// members lists the properties of a schema and of those that it includes.
func (d *description) members(pointer string) []string {
	d.t.Helper()
	schema, _ := d.at(pointer)
	properties, _ := schema["properties"].(map[string]any)
	names := slices.Collect(maps.Keys(properties))
	all, _ := schema["allOf"].([]any)
	for _, one := range all {
		to, _ := one.(map[string]any)["$ref"].(string)
		names = append(names, d.members(to)...)
	}
	return names
}

// The running endpoint answers as the document says, with each status and problem that it
// names.
func TestOpenAPI(t *testing.T) {
	d := readOpenAPI(t)
	r := newRig(t)
	address := "http://" + r.serve(nil)
	old, ref := r.keep("default", "shop-1"), r.keep("default", "shop-1")
	r.keep("default", "shop-2")
	reach := func(method, target string, headers ...string) func() *http.Request {
		return func() *http.Request {
			request, err := http.NewRequestWithContext(t.Context(), method, address+target, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+markedCallerToken)
			for i := 0; i < len(headers); i += 2 {
				request.Header.Set(headers[i], headers[i+1])
			}
			return request
		}
	}
	get := func(ref string, headers ...string) func() *http.Request {
		return reach(http.MethodGet, Path+"?ref="+url.QueryEscape(ref), headers...)
	}
	statuses, types := map[string]bool{}, map[string]bool{}
	for _, c := range []struct {
		name    string
		prepare func()
		request func() *http.Request
		status  int
	}{
		{"Given", nil, get(ref), 200},
		{"NotModified", nil, get(ref, "If-None-Match", `"2"`), 304},
		{"Invalid", nil, get("x"), 400},
		{"Unauthenticated", nil, get(ref, "Authorization", "Bearer x"), 401},
		{"Unknown", nil, get(shopRef(t, "default", "nobody", 1)), 404},
		{"Forbidden", nil, get(shopRef(t, "second", "shop-2", 1)), 404},
		{"NotFound", nil, reach(http.MethodGet, "/v1/other"), 404},
		{"WrongMethod", nil, reach(http.MethodPut, Path), 405},
		{"Replaced", nil, get(old), 410},
		{"Disconnected", func() { r.disconnected[journal.ShopKey{Account: "default", Shop: "shop-3"}] = true }, get(shopRef(t, "default", "shop-3", 1)), 410},
		{"Limited", func() { r.callers.byToken(markedCallerToken).limits.left = -1_000_000 }, get(ref), 429},
		{"Unreadable", func() {
			r.callers.byToken(markedCallerToken).limits.full = true
			for k, rows := range r.rows {
				if k.Shop == "shop-2" {
					rows[0].MerchantID = "another"
				}
			}
		}, get(shopRef(t, "default", "shop-2", 1)), 500},
		{"KeyMissing", func() {
			keys, err := keyset.New()
			if err != nil {
				t.Fatal(err)
			}
			r.server.cfg.Secrets = credentials.NewSealed(keys)
		}, get(ref), 500},
		{"Unavailable", func() { r.fail(errors.New("away"), nil) }, get(ref), 503},
		{"Busy", func() {
			for range maxReads {
				r.server.turns <- struct{}{}
			}
		}, get(ref), 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.prepare != nil {
				c.prepare()
			}
			resp, err := http.DefaultClient.Do(c.request())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, c.status, body)
			}
			if err := d.check(resp, body); err != nil {
				t.Errorf("status %d: %v\n%s", resp.StatusCode, err, body)
			}
			statuses[strconv.Itoa(resp.StatusCode)] = true
			var p problem
			if json.Unmarshal(body, &p) == nil && p.Type != "" {
				types[p.Type] = true
			}
		})
	}
	responses, _ := d.at(operation + "/responses")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(responses)), slices.Sorted(maps.Keys(statuses))); diff != "" {
		t.Errorf("statuses of the document and of the endpoint: %s", diff)
	}
	described, _ := d.at("#/components/schemas/Problem/properties/type")
	var named []string
	for _, v := range described["enum"].([]any) {
		named = append(named, v.(string))
	}
	slices.Sort(named)
	if diff := cmp.Diff(named, slices.Sorted(maps.Keys(types))); diff != "" {
		t.Errorf("problems of the document and of the endpoint: %s", diff)
	}
}
