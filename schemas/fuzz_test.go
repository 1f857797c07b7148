package schemas_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/schemas"
)

// places are all that an Invalid may say about where.
func places() []string {
	list := []string{"", "content-type", "x-id", "/event", "/data", "/data_base64", "/datacontenttype"}
	for _, member := range []string{"shopId", "provider", "email", "activationCode", "partnerAccount"} {
		list = append(list, "/"+member, "/data/"+member)
	}
	for _, attribute := range []string{"specversion", "id", "source", "type", "subject", "time", "traceparent", "tracestate"} {
		list = append(list, "/"+attribute, "ce_"+attribute, "ce-"+attribute, "cloudevents:"+attribute, "cloudevents_"+attribute)
	}
	for _, wrapper := range []string{"payload", "after", "detail", "message", "Message", "body", "value", "event", "data", "data_base64"} {
		list = append(list, "/"+wrapper, "/data/"+wrapper)
	}
	return list
}

// oneExit checks that a record ended in exactly one place and that the verdict
// is made of the contract's own words.
func oneExit(t *testing.T, in schemas.Input, err error) {
	t.Helper()
	if err == nil {
		switch {
		case !slices.Contains(schemas.InputTypes(), in.Type), in.Account != "default":
			t.Fatalf("%v", in)
		case !clean(in.Shop, schemas.MaxShopBytes), in.ID != "" && !clean(in.ID, schemas.MaxIDBytes), in.Source != "" && !clean(in.Source, schemas.MaxSourceBytes):
			t.Fatalf("%q %q %q", in.Shop, in.ID, in.Source)
		case in.Type == schemas.TypeProviderSelected && (!clean(in.Email.Reveal(), 400) || strings.ContainsAny(in.Email.Reveal(), " ,<>") || !in.Code.IsZero()):
			t.Fatalf("address %q", in.Email.Reveal())
		case in.Type == schemas.TypeCodeEntered && (!clean(in.Code.Reveal(), 144) || !in.Email.IsZero()):
			t.Fatalf("code %q", in.Code.Reveal())
		case !jsontext.Value(in.Content).IsValid():
			t.Fatalf("content %q", []byte(in.Content))
		}
		return
	}
	if in.Type != "" || in.Shop != "" || in.ID != "" || in.Content != nil || !in.Email.IsZero() || !in.Code.IsZero() {
		t.Fatalf("%v with %v", in, err)
	}
	switch verdict := err.(type) {
	case *schemas.IgnoredError:
		switch {
		case verdict.Reason == schemas.IgnoreTombstone && verdict.Shop+verdict.Account == "":
		case verdict.Reason == schemas.IgnoreOtherProvider && verdict.Shop == "" && verdict.Account == "":
		case verdict.Reason == schemas.IgnoreOtherProvider && clean(verdict.Shop, schemas.MaxShopBytes) && verdict.Account == "default":
		default:
			t.Fatalf("%+v", verdict)
		}
	case *schemas.InvalidError:
		if !slices.Contains(schemas.InvalidReasons(), verdict.Reason) || !slices.Contains(places(), verdict.Where) || verdict.EventID != "" && !clean(verdict.EventID, schemas.MaxIDBytes) ||
			verdict.Shop != "" && !clean(verdict.Shop, schemas.MaxShopBytes) || verdict.Account != "" && (verdict.Account != "default" || verdict.Shop == "") {
			t.Fatalf("%+v", verdict)
		}
		text := "schemas: invalid event: " + string(verdict.Reason)
		if verdict.Where != "" {
			text += " at " + verdict.Where
		}
		if verdict.Byte > 0 {
			text += fmt.Sprintf(" near byte %d", verdict.Byte)
		}
		if err.Error() != text {
			t.Fatalf("%q", err.Error())
		}
	default:
		t.Fatalf("%T", err)
	}
}

func clean(s string, maxBytes int) bool {
	return s != "" && len(s) <= maxBytes && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func FuzzDecode(f *testing.F) {
	for _, typ := range schemas.InputTypes() {
		for _, data := range []string{goodCode, goodSelection, otherSelection, `{"shopId":1.0}`} {
			for form, m := range formsOf(typ, data) {
				f.Add(typ == schemas.TypeCodeEntered, strings.HasPrefix(form, "binary"), form == "structured" || form == "base64", "ce_time", []byte("2026-11-20T12:00:00Z"), m.Value)
			}
		}
	}
	for _, s := range shapes() {
		if len(s.value) < 4<<10 {
			f.Add(false, len(s.headers) > 4, len(s.headers) == 2, "cloudEvents:specversion", []byte("1.0.1"), []byte(s.value))
		}
	}
	f.Fuzz(func(t *testing.T, code, binary, structured bool, key string, header, value []byte) {
		d := decoder(t, schemas.DecoderOptions{IDHeader: "X-Id", IDMember: "event"})
		m := schemas.Message{Topic: schemas.TypeProviderSelected, Value: value, Headers: []schemas.Header{{Key: key, Value: header}}}
		if code {
			m.Topic = schemas.TypeCodeEntered
		}
		if binary {
			for k, v := range map[string]string{"ce_specversion": "1.0", "ce_id": "e-1", "ce_source": "s", "ce_type": m.Topic} {
				m.Headers = append(m.Headers, schemas.Header{Key: k, Value: []byte(v)})
			}
		}
		if structured {
			m.Headers = append(m.Headers, schemas.Header{Key: "content-type", Value: []byte("application/cloudevents+json")})
		}
		in, err := d.Decode(m)
		oneExit(t, in, err)
		again, errAgain := d.Decode(m)
		if !cmp.Equal(err, errAgain) || string(in.Content) != string(again.Content) || in.ID != again.ID || in.Shop != again.Shop {
			t.Fatalf("read twice: %v and %v", err, errAgain)
		}
	})
}

// A marked value in each place where an event can hold one never shows in what
// is said about it, not even four bytes of it.
func TestErrorsHoldNoValue(t *testing.T) {
	const mark = `Zq7%kW2!pX9~vB4`
	d := decoder(t, schemas.DecoderOptions{IDHeader: "X-Id", IDMember: "event"})
	var records []schemas.Message
	for _, broken := range []string{`"` + mark + `\u0000"`, `"` + mark + strings.Repeat("x", 300) + `"`, `"` + mark, mark, `["` + mark + `"]`, `{"` + mark + `":1,"` + mark + `":2}`, `{"` + mark + `":` + mark, `"` + mark + "\xff" + `"`, `"` + mark + `\x"`, `1` + mark, `"` + mark + `"` + mark} {
		for _, member := range []string{"shopId", "provider", "email", "activationCode", "partnerAccount", "event", mark, "id", "source", "type", "time", "subject", "specversion", "data"} {
			text := `"` + member + `":` + broken
			for _, typ := range schemas.InputTypes() {
				records = append(records, plainMessage(typ, "{"+text+"}"), plainMessage(typ, `{"shopId":"s","provider":"invoicebox",`+text+"}"))
				structured := structuredMessage(typ, "{}")
				structured.Value = []byte(`{"specversion":"1.0",` + text + `}`)
				records = append(records, structured, structuredMessage(typ, "{"+text+"}"), structuredMessage(typ, `{"provider":"invoicebox",`+text+"}"))
			}
		}
	}
	for _, name := range []string{"content-type", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "ce_specversion", "ce_" + mark, mark, "X-Id"} {
		for _, value := range []string{mark + "\x00", mark + "\xff", mark + strings.Repeat("x", 300), "application/" + mark, "application/json; charset=" + mark} {
			extra := schemas.Header{Key: name, Value: []byte(value)}
			records = append(records, binaryMessage(schemas.TypeCodeEntered, goodCode, extra), schemas.Message{Topic: schemas.TypeCodeEntered, Value: []byte("{}"), Headers: []schemas.Header{extra}})
		}
	}
	refused := 0
	for _, m := range records {
		_, err := d.Decode(m)
		if err == nil {
			continue
		}
		refused++
		text := err.Error()
		if invalid, ok := errors.AsType[*schemas.InvalidError](err); ok {
			invalid.EventID, invalid.Shop = "", "" // the values that are shown
			text += fmt.Sprintf("%+v", *invalid)
		}
		for i := range len(mark) - 3 {
			if strings.Contains(text, mark[i:i+4]) {
				t.Errorf("%s: %s", m.Value, text)
			}
		}
	}
	if refused < 600 {
		t.Errorf("%d of %d records were refused", refused, len(records))
	}
}

func FuzzDecodeOutput(f *testing.F) {
	for _, data := range eachData("shop-1") {
		for _, format := range []schemas.Format{schemas.FormatBinary, schemas.FormatStructured} {
			m, err := schemas.Encode(event(data), format)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(event(data).Type, string(m.Key), format == schemas.FormatStructured, "ce_x", []byte("1"), m.Value)
		}
	}
	f.Fuzz(func(t *testing.T, typ, key string, structured bool, name string, header, value []byte) {
		m := schemas.Message{Key: []byte(key), Value: value}
		if structured {
			m.Headers = []schemas.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}}
		} else {
			for k, v := range map[string]string{
				"content-type": "application/json", "ce_specversion": "1.0", "ce_id": "e-1", "ce_source": "urn:s", "ce_type": typ, "ce_subject": key,
				"ce_time": "2026-11-20T12:00:00Z", "ce_dataschema": schemas.SchemaID(typ), "ce_sequence": "0000000000000000007", "ce_causationid": "c", "ce_operationid": "o",
			} {
				if strings.EqualFold(k, name) {
					v = string(header)
				}
				m.Headers = append(m.Headers, schemas.Header{Key: k, Value: []byte(v)})
			}
		}
		loose, err := schemas.DecodeOutput(m)
		if err != nil && (!errors.Is(err, schemas.ErrEvent) || !cmp.Equal(loose, schemas.Event{})) {
			t.Fatalf("%v with %v", loose, err)
		}
		strict, strictErr := schemas.DecodeOutput(m, schemas.Strict)
		if strictErr != nil {
			return
		}
		if err != nil || !cmp.Equal(loose, strict) {
			t.Fatalf("strict reads what tolerant refuses, or otherwise: %v %s", err, cmp.Diff(loose, strict))
		}
		format := schemas.FormatBinary
		if structured {
			format = schemas.FormatStructured
		}
		again, err := schemas.Encode(strict, format)
		if err != nil {
			t.Fatalf("what is read cannot be written: %v", err)
		}
		back, err := schemas.DecodeOutput(again, schemas.Strict)
		if err != nil || !cmp.Equal(back, strict) {
			t.Fatalf("%v %s", err, cmp.Diff(strict, back))
		}
	})
}
