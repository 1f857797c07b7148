package schemas_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/schemas"
)

func TestEncodeRefuses(t *testing.T) {
	for name, alter := range map[string]func(*schemas.Event){
		"no data":              func(e *schemas.Event) { e.Data = nil },
		"pointer":              func(e *schemas.Event) { d := e.Data.(schemas.Activated); e.Data = &d },
		"other type":           func(e *schemas.Event) { e.Type = schemas.TypeInvited },
		"input type":           func(e *schemas.Event) { e.Type = schemas.TypeCodeEntered },
		"no id":                func(e *schemas.Event) { e.ID = "" },
		"long id":              func(e *schemas.Event) { e.ID = strings.Repeat("i", 257) },
		"no source":            func(e *schemas.Event) { e.Source = "" },
		"other subject":        func(e *schemas.Event) { e.Subject = "shop-2" },
		"no time":              func(e *schemas.Event) { e.Time = time.Time{} },
		"year 10000":           func(e *schemas.Event) { e.Time = e.Time.AddDate(8000, 0, 0) },
		"no sequence":          func(e *schemas.Event) { e.Sequence = 0 },
		"negative sequence":    func(e *schemas.Event) { e.Sequence = -1 },
		"no cause":             func(e *schemas.Event) { e.CausationID = "" },
		"no operation":         func(e *schemas.Event) { e.OperationID = "" },
		"newline in cause":     func(e *schemas.Event) { e.CausationID = "a\nb" },
		"trace of anything":    func(e *schemas.Event) { e.TraceParent = "00-marked-00" },
		"state without parent": func(e *schemas.Event) { e.TraceParent = "" },
		"state of anything":    func(e *schemas.Event) { e.TraceState = "shop@example.org" },
		"no shop":              change(func(d *schemas.Activated) { d.ShopID = "" }),
		"no account":           change(func(d *schemas.Activated) { d.PartnerAccount = "" }),
		"no merchant":          change(func(d *schemas.Activated) { d.MerchantID = "" }),
		"no time of it":        change(func(d *schemas.Activated) { d.ActivatedAt = time.Time{} }),
		"verification unsaid":  change(func(d *schemas.Activated) { d.Verification = "" }),
		"not pinned": change(func(d *schemas.Activated) {
			d.Credentials.Ref, d.Credentials.Version = strings.TrimSuffix(d.Credentials.Ref, "?version=3"), 0
		}),
		"other version":     change(func(d *schemas.Activated) { d.Credentials.Version = 4 }),
		"other store":       change(func(d *schemas.Activated) { d.Credentials.Store = schemas.StoreOpenBao }),
		"other key":         change(func(d *schemas.Activated) { d.Credentials.Key += "2" }),
		"reference by name": change(func(d *schemas.Activated) { d.Credentials.Ref += "#/token" }),
		"no reference":      change(func(d *schemas.Activated) { d.Credentials.Ref = "" }),
		"other shop's":      change(func(d *schemas.Activated) { d.Credentials = credentials("shop-2") }),
		"other account's":   change(func(d *schemas.Activated) { d.PartnerAccount = "second" }),
		"no fields":         change(func(d *schemas.Activated) { d.Credentials.Fields = nil }),
		"unknown field":     change(func(d *schemas.Activated) { d.Credentials.Fields = []string{"password"} }),
	} {
		e := activatedEvent()
		alter(&e)
		m, err := schemas.Encode(e, schemas.FormatBinary)
		if !errors.Is(err, schemas.ErrEvent) || m.Value != nil || strings.Contains(err.Error(), "marked") || strings.Contains(err.Error(), "example") {
			t.Errorf("%s: %v %s", name, err, m.Value)
		}
	}
	if _, err := schemas.Encode(activatedEvent(), "xml"); !errors.Is(err, schemas.ErrEvent) {
		t.Errorf("a format that is none: %v", err)
	}
	dead := event(eachData("shop-1")[8])
	dead.Sequence = 1
	if _, err := schemas.Encode(dead, schemas.FormatBinary); !errors.Is(err, schemas.ErrEvent) {
		t.Errorf("a dead letter with a sequence: %v", err)
	}
	for name, alter := range map[string]func(*schemas.DeadLetter){
		"topic":         func(d *schemas.DeadLetter) { d.Topic = ".." },
		"topic's slash": func(d *schemas.DeadLetter) { d.Topic = "a/b" },
		"partition":     func(d *schemas.DeadLetter) { d.Partition = 1 << 31 },
		"offset":        func(d *schemas.DeadLetter) { d.Offset = -1 },
		"event id":      func(d *schemas.DeadLetter) { d.EventID = "a\x00" },
		"reason":        func(d *schemas.DeadLetter) { d.Reason = "unexpected EOF" },
		"where":         func(d *schemas.DeadLetter) { d.Where = strings.Repeat("/", 65) },
		"time":          func(d *schemas.DeadLetter) { d.Time = time.Time{} },
	} {
		d := eachData("shop-1")[8].(schemas.DeadLetter)
		alter(&d)
		if _, err := schemas.Encode(event(d), schemas.FormatBinary); !errors.Is(err, schemas.ErrEvent) {
			t.Errorf("a dead letter with a bad %s: %v", name, err)
		}
	}
}

func change(f func(*schemas.Activated)) func(*schemas.Event) {
	return func(e *schemas.Event) {
		d := e.Data.(schemas.Activated)
		f(&d)
		e.Data = d
	}
}

// The bytes are frozen in the outbox, and an instant has one spelling.
func TestTheSameEventGivesTheSameBytes(t *testing.T) {
	here := time.FixedZone("here", 3*60*60)
	for _, format := range []schemas.Format{schemas.FormatBinary, schemas.FormatStructured} {
		for range 20 {
			e := activatedEvent()
			one, err := schemas.Encode(e, format)
			if err != nil {
				t.Fatal(err)
			}
			e.Time = e.Time.In(here)
			change(func(d *schemas.Activated) { d.ActivatedAt = d.ActivatedAt.In(here) })(&e)
			two, err := schemas.Encode(e, format)
			if err != nil || !cmp.Equal(one, two) {
				t.Fatalf("%v %s", err, cmp.Diff(one, two))
			}
		}
	}
}

func TestSequencesSortAsText(t *testing.T) {
	last := ""
	for _, n := range []int64{1, 9, 10, 99, 1 << 40, 1<<63 - 1} {
		e := activatedEvent()
		e.Sequence = n
		m, err := schemas.Encode(e, schemas.FormatBinary)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range m.Headers {
			if h.Key == "ce_sequence" {
				if len(h.Value) != 19 || string(h.Value) <= last {
					t.Errorf("%q after %q", h.Value, last)
				}
				last = string(h.Value)
			}
		}
	}
}

// A subscriber of today reads what a later version adds.
func TestReadingResultsIsTolerant(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*schemas.Message)
		works  bool
	}{
		"header in upper case": {func(m *schemas.Message) { m.Headers[2].Key = strings.ToUpper(m.Headers[2].Key) }, true},
		"unknown header": {func(m *schemas.Message) {
			m.Headers = append(m.Headers, schemas.Header{Key: "ce_new", Value: []byte("1")})
		}, true},
		"unknown member":        {func(m *schemas.Message) { m.Value = append([]byte(`{"new":[1],`), m.Value[1:]...) }, true},
		"unknown word":          {replaceIn("pending", "half"), true},
		"sequence as it comes":  {func(m *schemas.Message) { setHeader(m, "ce_sequence", "7") }, true},
		"sequence of words":     {func(m *schemas.Message) { setHeader(m, "ce_sequence", "seven") }, false},
		"renamed topic":         {func(m *schemas.Message) { m.Topic = "elsewhere" }, true},
		"other version":         {func(m *schemas.Message) { setHeader(m, "ce_specversion", "2.0") }, false},
		"other key":             {func(m *schemas.Message) { m.Key = []byte("shop-2") }, true},
		"other schema":          {func(m *schemas.Message) { setHeader(m, "ce_dataschema", "urn:x") }, true},
		"input type":            {func(m *schemas.Message) { setHeader(m, "ce_type", schemas.TypeCodeEntered) }, false},
		"other subject":         {func(m *schemas.Message) { setHeader(m, "ce_subject", "shop-2") }, false},
		"no id":                 {func(m *schemas.Message) { setHeader(m, "ce_id", "") }, false},
		"header twice":          {func(m *schemas.Message) { m.Headers = append(m.Headers, m.Headers[2]) }, false},
		"reference of another":  {replaceIn("/default/shop-1?", "/default/shop-2?"), false},
		"reference that climbs": {replaceIn("/default/shop-1?", "/default/../shop-1?"), false},
		"tombstone":             {func(m *schemas.Message) { m.Value = nil }, false},
		"cut off":               {func(m *schemas.Message) { m.Value = m.Value[:len(m.Value)-1] }, false},
		"member twice":          {func(m *schemas.Message) { m.Value = append([]byte(`{"shopId":"shop-1",`), m.Value[1:]...) }, false},
		"avro":                  {func(m *schemas.Message) { setHeader(m, "content-type", "application/avro") }, false},
	} {
		m, err := schemas.Encode(activatedEvent(), schemas.FormatBinary)
		if err != nil {
			t.Fatal(err)
		}
		c.change(&m)
		e, err := schemas.DecodeOutput(m)
		if (err == nil) != c.works || err != nil && !errors.Is(err, schemas.ErrEvent) {
			t.Errorf("%s: %v", name, err)
		}
		if d, ok := e.Data.(schemas.Activated); ok != c.works || ok && d.MerchantID == "" {
			t.Errorf("%s: %+v", name, e)
		}
		if _, err := schemas.DecodeOutput(m, schemas.Strict); err == nil && name != "header in upper case" && name != "renamed topic" {
			t.Errorf("%s passes the strict reader", name)
		}
	}
	m, err := schemas.Encode(activatedEvent(), schemas.FormatBinary)
	if err != nil {
		t.Fatal(err)
	}
	m.Value = append([]byte("{"+strings.Repeat(" ", schemas.MaxOutputBytes)), m.Value[1:]...)
	if _, err := schemas.DecodeOutput(m, schemas.Strict); !errors.Is(err, schemas.ErrTooLarge) {
		t.Errorf("over 16 KiB: %v", err)
	}
}

func setHeader(m *schemas.Message, name, value string) {
	for i := range m.Headers {
		if m.Headers[i].Key == name {
			m.Headers[i].Value = []byte(value)
		}
	}
}

func replaceIn(before, after string) func(*schemas.Message) {
	return func(m *schemas.Message) { m.Value = []byte(strings.Replace(string(m.Value), before, after, 1)) }
}

// In structured mode the value alone speaks.
func TestHeadersBesideAStructuredEvent(t *testing.T) {
	m, err := schemas.Encode(activatedEvent(), schemas.FormatStructured)
	if err != nil {
		t.Fatal(err)
	}
	m.Headers = append(m.Headers, schemas.Header{Key: "ce_id", Value: []byte("another")})
	if e, err := schemas.DecodeOutput(m); err != nil || e.ID != activatedEvent().ID {
		t.Errorf("%v, id %q", err, e.ID)
	}
	if _, err := schemas.DecodeOutput(m, schemas.Strict); !errors.Is(err, schemas.ErrEvent) {
		t.Errorf("the strict reader: %v", err)
	}
}

// The largest event that passes the checks stays below the bound.
func TestTheLargestEventFits(t *testing.T) {
	shop := strings.Repeat(`"`, schemas.MaxShopBytes)
	account := strings.Repeat(`"`, schemas.MaxAccountBytes)
	ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: strings.Repeat("m", schemas.MaxMountBytes), Account: account, Shop: shop, Version: 1<<63 - 1}
	long := strings.Repeat(`"`, schemas.MaxIDBytes)
	e := event(schemas.Activated{
		ShopID: shop, PartnerAccount: account, MerchantID: strings.Repeat("🛒", schemas.MaxMerchantChars), ActivatedAt: noon, Verification: schemas.VerificationPending,
		Credentials: schemas.Credentials{Ref: ref.String(), Store: ref.Store, Key: ref.Key(), Version: ref.Version, Fields: []string{schemas.FieldToken, schemas.FieldMerchantID}},
	})
	e.ID, e.Source, e.CausationID, e.OperationID, e.TraceState = long, long, long, long, "a="+strings.Repeat("b", schemas.MaxTraceStateBytes-2)
	for _, format := range []schemas.Format{schemas.FormatBinary, schemas.FormatStructured} {
		if _, err := schemas.Encode(e, format); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestParseFormat(t *testing.T) {
	for text, want := range map[string]schemas.Format{"": schemas.FormatBinary, "binary": schemas.FormatBinary, "structured": schemas.FormatStructured} {
		if f, err := schemas.ParseFormat(text); err != nil || f != want {
			t.Errorf("%q: %v %v", text, f, err)
		}
	}
	if _, err := schemas.ParseFormat("Binary"); err == nil {
		t.Error("a format in another case passes")
	}
}

// One decoder serves all partitions at once.
func TestDecodingConcurrently(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 200 {
				for form, m := range messagesOf(schemas.TypeProviderSelected, goodSelection) {
					if in, err := d.Decode(m); err != nil || in.Shop != "shop-1" || in.Email.Reveal() != "shop@example.org" {
						t.Errorf("%s: %v", form, err)
					}
				}
				for form, m := range messagesOf(schemas.TypeProviderSelected, otherSelection) {
					if _, err := d.Decode(m); err == nil {
						t.Errorf("%s of another provider is taken", form)
					}
				}
			}
		})
	}
	wait.Wait()
}
