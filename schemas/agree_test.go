package schemas_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"invoicebox-worker/schemas"
)

// The decoder and the schema are two accounts of one contract. What differs is
// known, and named here: how an integer is spelt, which accounts exist, limits
// in bytes, other providers, and numbers of absurd size.
func TestDecoderAndSchemaAgree(t *testing.T) {
	var accepted [2]int
	defer bothSeen(t, &accepted)
	d := decoder(t, schemas.DecoderOptions{})
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(schemas.InputTypes()).Draw(t, "type")
		data := drawData(t)
		_, err := d.Decode(plainMessage(typ, data))
		fits := schemas.Validate(typ, []byte(data))
		if _, ok := errors.AsType[*schemas.IgnoredError](err); ok {
			return
		}
		invalid, refused := errors.AsType[*schemas.InvalidError](err)
		count(&accepted, err == nil)
		if err != nil && !refused {
			t.Fatalf("%s: %T", data, err)
		}
		switch {
		case !refused && fits != nil:
			t.Fatalf("the decoder takes %s, the schema says %v", data, fits)
		case refused && fits == nil && !knownDifference(invalid, data):
			t.Fatalf("the schema takes %s, the decoder says %v", data, err)
		}
	})
}

func knownDifference(invalid *schemas.InvalidError, data string) bool {
	switch invalid.Reason {
	case schemas.ReasonUnknownAccount:
		return true
	case schemas.ReasonMalformed: // 1.0 and 1e2 are integers to a schema
		return invalid.Where != "/email"
	case schemas.ReasonTooLong: // bytes
		return invalid.Where == "/shopId" && strings.IndexFunc(data, func(r rune) bool { return r > 127 }) >= 0
	}
	return false
}

// drawData writes an object that is right or nearly right in each member.
func drawData(t *rapid.T) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r", "\v", "\u00a0"})
	shop := rapid.OneOf(quoted(rapid.OneOf(rapid.StringN(0, 130, -1), rapid.SampledFrom([]string{"shop-1", "", "a\x00b", "a\x7fb", "a\u009fb", "..", "a/b", "лавка"}))), number())
	word := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9!#$%&'*+/=?^_{|}~-]{1,12}`), rapid.SampledFrom([]string{"", "ж", "x.y", "x..y", ".x", "x.", `"a@b"`, `"a\"b"`, `"a\b"`, `"a`, `""`, "a b", "a,b", "<a>", "a(c)", "a;b", "a:b", `a\b`, "\u200b", "\u00a0", "\u0085", "[1.2.3.4]", "-a", "a-", "a_b", strings.Repeat("l", 90)}), rapid.StringN(0, 5, -1))
	email := quoted(rapid.Custom(func(t *rapid.T) string {
		return space.Draw(t, "before") + word.Draw(t, "local") + rapid.SampledFrom([]string{"@", "@", "@", "@", "", "@@"}).Draw(t, "at") +
			word.Draw(t, "domain") + rapid.SampledFrom([]string{"", ".example", ".рф", ".", ".x-"}).Draw(t, "end") + space.Draw(t, "after")
	}))
	code := rapid.OneOf(number(), quoted(rapid.Custom(func(t *rapid.T) string {
		return space.Draw(t, "before") + rapid.StringN(0, 38, -1).Draw(t, "code") + space.Draw(t, "after")
	})))
	anything := rapid.SampledFrom([]string{"null", "true", "[]", "{}", "1", "1.5", `""`, `"invoicebox"`, `"default"`, `"other"`, `"a@b.example"`})
	provider := rapid.SampledFrom([]string{`"invoicebox"`, `"invoicebox"`, `"invoicebox"`, `"invoicebox"`, `"invoice\u0062ox"`, `"other"`, `""`, "null", "5"})
	var members []string
	for _, m := range []struct {
		name, usual string
		often       bool
		value       *rapid.Generator[string]
	}{
		{"shopId", `"shop-1"`, true, shop},
		{"provider", `"invoicebox"`, true, provider},
		{"email", `"a@b.example"`, true, email},
		{"activationCode", `"1432"`, true, code},
		{"partnerAccount", `"default"`, false, anything},
		{"other", "1", false, anything},
		{"shopID", "1", false, anything},
	} {
		if (rapid.IntRange(0, 14).Draw(t, "has "+m.name) < 14) != m.often {
			continue
		}
		value := m.usual
		switch n := rapid.IntRange(0, 29).Draw(t, "kind of "+m.name); {
		case n == 29:
			value = anything.Draw(t, m.name)
		case n > 19:
			value = m.value.Draw(t, m.name)
		}
		members = append(members, `"`+m.name+`":`+value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func quoted(text *rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.Map(text, func(s string) string {
		b, _ := json.Marshal(strings.ToValidUTF8(s, "?"))
		return string(b)
	})
}

func number() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`-?[1-9][0-9]{0,40}`),
		rapid.StringMatching(`-?[1-9][0-9]{120,130}`),
		rapid.SampledFrom([]string{"0", "-0", "1.0", "1e2", "1.5", "10e-1", "1E5"}),
	)
}

// The same for the envelope of structured mode.
func TestDecoderAndEnvelopeSchemaAgree(t *testing.T) {
	var accepted [2]int
	defer bothSeen(t, &accepted)
	d := decoder(t, schemas.DecoderOptions{})
	text := quoted(rapid.OneOf(rapid.StringN(0, 8, -1), rapid.SampledFrom([]string{"", "a\nb", "e-1", strings.Repeat("i", 257), strings.Repeat("i", 256), "2026-11-20T12:00:00Z", "2026-11-20T12:00:00,5Z", "2026-02-30T12:00:00Z", "2026-11-20t12:00:00z", "2026-11-20T24:00:00Z", "2026-11-20T1:00:00Z", "2026-11-20T12:00:00", "2026-11-20T12:00:00.123456789123Z", "2026-11-20T12:00:00+24:00", "0000-01-01T00:00:00Z", "2026-11-20T12:00:00+03:00", "0.3"})))
	odd := rapid.SampledFrom([]string{"null", "5", "{}", `""`, `"1.0"`, "[]"})
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(schemas.InputTypes()).Draw(t, "type")
		members := map[string]string{
			"specversion": `"1.0"`, "id": `"e-1"`, "source": `"/p"`, "type": `"` + typ + `"`, "time": `"2026-11-20T12:00:00Z"`, "subject": `"shop-1"`,
			"datacontenttype": `"application/json"`, "traceparent": `"x"`,
			"data": `{"shopId":"shop-1","provider":"invoicebox","email":"a@b.example","activationCode":"1"}`, "data_base64": "null",
		}
		value := "{"
		for name, usual := range sorted(members) {
			switch rapid.IntRange(0, 39).Draw(t, name) {
			case 36:
				continue
			case 37:
				usual = odd.Draw(t, "odd")
			case 38, 39:
				usual = text.Draw(t, "text")
			}
			if len(value) > 1 {
				value += ","
			}
			value += `"` + name + `":` + usual
		}
		value += "}"
		m := structuredMessage(typ, "{}")
		m.Value = []byte(value)
		_, err := d.Decode(m)
		fits := schemas.Validate(schemas.EnvelopeInput, []byte(value))
		invalid, refused := errors.AsType[*schemas.InvalidError](err)
		count(&accepted, err == nil)
		switch {
		case !refused && fits != nil:
			t.Fatalf("the decoder takes %s, the schema says %v", value, fits)
		case refused && fits == nil:
			// Beyond a schema: what compares two members, what is inside the data,
			// bytes, the topic.
			known := invalid.Reason == schemas.ReasonSubjectDiffers || invalid.Reason == schemas.ReasonTypeDiffers || invalid.Reason == schemas.ReasonTooLong ||
				invalid.Reason == schemas.ReasonUnsupportedContentType || strings.HasPrefix(invalid.Where, "/data")
			if !known {
				t.Fatalf("the schema takes %s, the decoder says %v", value, err)
			}
		}
	})
}

// What Encode takes fits the strict schema, and what it refuses does not,
// apart from what a schema cannot compare.
func TestEncoderAndSchemaAgree(t *testing.T) {
	var accepted [2]int
	defer bothSeen(t, &accepted)
	words := rapid.SampledFrom([]string{"", "sent", "already_invited", "already_active", "verified", "pending", "expired", "code_rejected", "address_rejected", "none", "contact_support", "missing", "x"})
	text := rapid.OneOf(rapid.SampledFrom([]string{"shop-1", "default", "t.1"}), rapid.SampledFrom([]string{"", "a\x00b", "a/b", ".."}), rapid.StringN(0, 40, -1), rapid.StringN(30, 300, -1))
	rapid.Check(t, func(t *rapid.T) {
		or := func(usual string, odd *rapid.Generator[string], label string) string {
			if rapid.IntRange(0, 3).Draw(t, "usual "+label) < 3 {
				return usual
			}
			return strings.ToValidUTF8(odd.Draw(t, label), "?")
		}
		shop, account, other := or("shop-1", text, "shop"), or("default", text, "account"), or("t.1", text, "other")
		n := rapid.Int64Range(-1, 1<<33).Draw(t, "n")
		ref := schemas.Reference{Store: "vault", Mount: "m", Account: account, Shop: shop, Version: n}
		fields := rapid.SampledFrom([][]string{{"token"}, {"merchantId", "token"}, {}, {"token", "token"}, {"x"}}).Draw(t, "fields")
		c := schemas.Credentials{Ref: ref.String(), Store: ref.Store, Key: ref.Key(), Version: n, Fields: fields}
		data := []schemas.Data{
			schemas.Invited{ShopID: shop, PartnerAccount: account, InvitationID: other, InvitedAt: noon, Outcome: schemas.InvitationOutcome(or("sent", words, "outcome"))},
			schemas.InvitationFailed{ShopID: shop, PartnerAccount: account, Reason: schemas.FailureReason(or("expired", words, "reason")), Action: schemas.Action(or("none", words, "action"))},
			schemas.Activated{ShopID: shop, PartnerAccount: account, MerchantID: other, ActivatedAt: noon, Verification: schemas.Verification(or("verified", words, "verification")), Credentials: c},
			schemas.ActivationFailed{ShopID: shop, PartnerAccount: account, Reason: schemas.FailureReason(or("expired", words, "reason")), Action: schemas.Action(or("none", words, "action"))},
			schemas.CredentialsVerified{ShopID: shop, PartnerAccount: account, Credentials: c, CheckedAt: noon},
			schemas.CredentialsInvalid{ShopID: shop, PartnerAccount: account, Credentials: c, CheckedAt: noon},
			schemas.Disconnected{ShopID: shop, PartnerAccount: account, DisconnectedAt: noon, DestroyAfter: noon},
			schemas.Unanswered{ShopID: shop, PartnerAccount: account, InvitationID: other, InvitedAt: noon, Reminder: int(n % 12)},
			schemas.DeadLetter{Topic: other, Partition: int(n), Offset: n, EventID: shop, Reason: schemas.InvalidReason(or("missing", words, "reason")), Where: account, Time: noon},
		}[rapid.IntRange(0, 8).Draw(t, "kind")]
		e := event(data)
		value, err := json.Marshal(data, json.FormatNilSliceAsNull(false))
		if err != nil {
			t.Fatal(err)
		}
		fits := schemas.Validate(e.Type, value)
		m, err := schemas.Encode(e, schemas.FormatBinary)
		count(&accepted, err == nil)
		if err == nil && (fits != nil || !jsontext.Value(m.Value).IsValid()) {
			t.Fatalf("Encode takes %s, the schema says %v", value, fits)
		}
		if err != nil && fits == nil && !overBytes(shop, account, data) {
			t.Fatalf("the schema takes %s, Encode says %v", value, err)
		}
	})
}

// overBytes tells whether a limit in bytes, or the size of a partition, is what
// a schema could not see.
func overBytes(shop, account string, data schemas.Data) bool {
	if d, ok := data.(schemas.DeadLetter); ok {
		return len(d.EventID) > schemas.MaxIDBytes || len(d.Where) > schemas.MaxWhereBytes
	}
	return len(shop) > schemas.MaxShopBytes || len(account) > schemas.MaxAccountBytes
}

func count(accepted *[2]int, yes bool) {
	if yes {
		accepted[1]++
	} else {
		accepted[0]++
	}
}

// bothSeen fails a test whose inputs were all taken or all refused: it would
// have shown nothing.
func bothSeen(t *testing.T, accepted *[2]int) {
	if accepted[0] == 0 || accepted[1] == 0 {
		t.Errorf("%d refused, %d accepted", accepted[0], accepted[1])
	}
	t.Logf("%d refused, %d accepted", accepted[0], accepted[1])
}
