package schemas_test

import (
	"errors"
	"strings"
	"testing"

	"invoicebox-worker/schemas"
)

// What each invalid example is refused for. The name of the file tells the
// fault; a file that is not here fails the test.
var exampleFaults = map[string]map[string]schemas.InvalidError{
	schemas.TypeProviderSelected: {
		"shop-id-missing":               {Reason: schemas.ReasonMissing, Where: "/shopId"},
		"shop-id-empty":                 {Reason: schemas.ReasonEmpty, Where: "/shopId"},
		"shop-id-too-long":              {Reason: schemas.ReasonTooLong, Where: "/shopId"},
		"shop-id-with-nul":              {Reason: schemas.ReasonControlCharacter, Where: "/shopId"},
		"shop-id-with-c1":               {Reason: schemas.ReasonControlCharacter, Where: "/shopId"},
		"shop-id-null":                  {Reason: schemas.ReasonWrongType, Where: "/shopId"},
		"shop-id-object":                {Reason: schemas.ReasonWrongType, Where: "/shopId"},
		"shop-id-fraction":              {Reason: schemas.ReasonMalformed, Where: "/shopId"},
		"provider-missing":              {Reason: schemas.ReasonMissing, Where: "/provider"},
		"provider-null":                 {Reason: schemas.ReasonWrongType, Where: "/provider"},
		"provider-empty":                {Reason: schemas.ReasonEmpty, Where: "/provider"},
		"provider-number":               {Reason: schemas.ReasonWrongType, Where: "/provider"},
		"address-missing":               {Reason: schemas.ReasonMissing, Where: "/email"},
		"address-null":                  {Reason: schemas.ReasonWrongType, Where: "/email"},
		"address-empty":                 {Reason: schemas.ReasonEmpty, Where: "/email"},
		"address-number":                {Reason: schemas.ReasonWrongType, Where: "/email"},
		"address-without-at":            {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-without-domain":        {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-without-local-part":    {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-two-ats":               {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-list":                  {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-with-name":             {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-with-newline":          {Reason: schemas.ReasonControlCharacter, Where: "/email"},
		"address-with-space":            {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-literal":               {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-too-long":              {Reason: schemas.ReasonTooLong, Where: "/email"},
		"address-double-dot":            {Reason: schemas.ReasonMalformed, Where: "/email"},
		"address-with-zero-width-space": {Reason: schemas.ReasonMalformed, Where: "/email"},
		"account-empty":                 {Reason: schemas.ReasonEmpty, Where: "/partnerAccount"},
		"account-number":                {Reason: schemas.ReasonWrongType, Where: "/partnerAccount"},
		"not-an-object":                 {Reason: schemas.ReasonWrongType},
		"not-json":                      {Reason: schemas.ReasonNotJSON},
		"cut-off":                       {Reason: schemas.ReasonNotJSON, Where: "/provider"},
		"repeated-member":               {Reason: schemas.ReasonDuplicateMember, Where: "/email"},
		"text-after-value":              {Reason: schemas.ReasonNotJSON},
		"invalid-utf8":                  {Reason: schemas.ReasonInvalidUTF8, Where: "/shopId"},
		"nested-too-deep":               {Reason: schemas.ReasonTooDeep},
		"other-case":                    {Reason: schemas.ReasonMissing, Where: "/shopId"},
	},
	schemas.TypeCodeEntered: {
		"shop-id-missing":             {Reason: schemas.ReasonMissing, Where: "/shopId"},
		"code-missing":                {Reason: schemas.ReasonMissing, Where: "/activationCode"},
		"code-null":                   {Reason: schemas.ReasonWrongType, Where: "/activationCode"},
		"code-empty":                  {Reason: schemas.ReasonEmpty, Where: "/activationCode"},
		"code-too-long":               {Reason: schemas.ReasonTooLong, Where: "/activationCode"},
		"code-with-control-character": {Reason: schemas.ReasonControlCharacter, Where: "/activationCode"},
		"code-boolean":                {Reason: schemas.ReasonWrongType, Where: "/activationCode"},
		"code-fraction":               {Reason: schemas.ReasonMalformed, Where: "/activationCode"},
		"code-number-too-long":        {Reason: schemas.ReasonTooLong, Where: "/activationCode"},
		"provider-empty":              {Reason: schemas.ReasonEmpty, Where: "/provider"},
		"provider-number":             {Reason: schemas.ReasonWrongType, Where: "/provider"},
		"account-object":              {Reason: schemas.ReasonWrongType, Where: "/partnerAccount"},
	},
}

func TestInputExamplesInEveryForm(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	for _, typ := range schemas.InputTypes() {
		for file, data := range examples(t, typ, "valid") {
			for form, m := range formsOf(typ, string(data)) {
				in, err := d.Decode(m)
				if err != nil || in.Type != typ || in.Account != "default" || in.Shop == "" || in.Email.IsZero() == (typ == schemas.TypeProviderSelected) {
					t.Errorf("%s/%s as %s: %v, %v", typ, file, form, in, err)
				}
			}
		}
		wanted := exampleFaults[typ]
		for file, data := range examples(t, typ, "invalid") {
			want, ok := wanted[file]
			if !ok {
				t.Errorf("%s/%s: the test does not know what to expect", typ, file)
			}
			for form, m := range formsOf(typ, string(data)) {
				_, err := d.Decode(m)
				invalid, ok := errors.AsType[*schemas.InvalidError](err)
				if !ok || invalid.Reason != want.Reason {
					t.Errorf("%s/%s as %s: %v", typ, file, form, err)
					continue
				}
				if form == "structured" {
					// Where the JSON breaks, the place is that of the whole data at best.
					invalid.Where = strings.TrimPrefix(invalid.Where, "/data")
					if invalid.Byte > 0 {
						continue
					}
				}
				if invalid.Where != want.Where && form != "base64" && (form != "structured" || want.Reason != schemas.ReasonTooDeep) {
					t.Errorf("%s/%s as %s: at %q, not %q", typ, file, form, invalid.Where, want.Where)
				}
				if form == "base64" && invalid.Where != "/data_base64" {
					t.Errorf("%s/%s as %s: at %q", typ, file, form, invalid.Where)
				}
			}
		}
		if len(wanted) != len(examples(t, typ, "invalid")) {
			t.Errorf("%s: an example is missing", typ)
		}
	}
}

var envelopeFaults = map[string]schemas.InvalidError{
	"specversion-other":   {Reason: schemas.ReasonUnsupportedVersion, Where: "/specversion"},
	"specversion-missing": {Reason: schemas.ReasonMissing, Where: "/specversion"},
	"id-missing":          {Reason: schemas.ReasonMissing, Where: "/id"},
	"id-empty":            {Reason: schemas.ReasonEmpty, Where: "/id"},
	"id-too-long":         {Reason: schemas.ReasonTooLong, Where: "/id"},
	"id-number":           {Reason: schemas.ReasonWrongType, Where: "/id"},
	"id-with-newline":     {Reason: schemas.ReasonControlCharacter, Where: "/id"},
	"source-missing":      {Reason: schemas.ReasonMissing, Where: "/source"},
	"source-too-long":     {Reason: schemas.ReasonTooLong, Where: "/source"},
	"type-other":          {Reason: schemas.ReasonTypeDiffers, Where: "/type"},
	"time-nonsense":       {Reason: schemas.ReasonMalformed, Where: "/time"},
	"subject-number":      {Reason: schemas.ReasonWrongType, Where: "/subject"},
	"data-missing":        {Reason: schemas.ReasonMissing, Where: "/data"},
	"data-text":           {Reason: schemas.ReasonDoubleEncoded, Where: "/data"},
	"data-twice":          {Reason: schemas.ReasonConflict, Where: "/data_base64"},
	"data-not-base64":     {Reason: schemas.ReasonMalformed, Where: "/data_base64"},
	"data-base64-wrapped": {Reason: schemas.ReasonMalformed, Where: "/data_base64"},
}

func TestEnvelopeExamples(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	for kind, wanted := range map[string]bool{"valid": true, "invalid": false} {
		for file, value := range examples(t, schemas.EnvelopeInput, kind) {
			m := structuredMessage("", "")
			m.Value = value
			m.Topic = schemas.TypeProviderSelected
			if strings.Contains(string(value), schemas.TypeCodeEntered) {
				m.Topic = schemas.TypeCodeEntered
			}
			_, err := d.Decode(m)
			if wanted && err != nil {
				t.Errorf("%s: %v", file, err)
			}
			want, known := envelopeFaults[file]
			if invalid, ok := errors.AsType[*schemas.InvalidError](err); !wanted && (!known || !ok || invalid.Reason != want.Reason || invalid.Where != want.Where) {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	for file, value := range examples(t, schemas.EnvelopeOutput, "valid") {
		m := schemas.Message{Value: value, Headers: []schemas.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}}}
		m.Key = []byte("shop-1042")
		if file == "dead-letter" {
			m.Key = []byte("codes/4")
		}
		if _, err := schemas.DecodeOutput(m, schemas.Strict); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A schema does not read media types; the decoder does.
func TestContentTypeOfTheData(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	for text, good := range map[string]bool{
		`"application/json"`: true, `"Application/Vnd.Shop+json; charset=utf-8"`: true, `null`: true,
		`"text/plain"`: false, `"application/json; charset=utf-16"`: false, `""`: false, `5`: false,
	} {
		m := structuredMessage(schemas.TypeCodeEntered, goodCode+`,"datacontenttype":`+text)
		_, err := d.Decode(m)
		invalid, _ := errors.AsType[*schemas.InvalidError](err)
		if (err == nil) != good || !good && (invalid == nil || invalid.Where != "/datacontenttype") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
