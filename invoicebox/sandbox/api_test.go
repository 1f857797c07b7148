package sandbox_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"invoicebox-worker/invoicebox/sandbox"
)

const lifted = -1

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestTheFlow(t *testing.T) {
	b := onTCP(t, sandbox.Options{})
	if d := b.invite("anna@shop.example").document(t); d.Data == nil || !uuidForm.MatchString(strings.Trim(string(d.Data.ID), `"`)) {
		t.Fatalf("invite: %+v", d)
	}
	r := b.activate("143232423434")
	d := r.document(t)
	if r.status != 200 || d.Data == nil || !uuidForm.MatchString(d.Data.MerchantID) || len(d.Data.Token) != 32 {
		t.Fatalf("activate: %d %s", r.status, r.body)
	}
	if d.Data.MerchantID != b.MerchantOf("143232423434") || d.Data.Token != b.TokenOf("143232423434") {
		t.Error("MerchantOf and TokenOf tell something else than the API")
	}
	if r := b.check(d.Data.Token); r.status != 200 || r.document(t).Data.UserID == nil {
		t.Errorf("check of the shop's token: %d %s", r.status, r.body)
	}
	if r := b.check(sandbox.DefaultToken); !strings.Contains(r.body, `,"profile":null,"accessToken":null},"extendedData":[]}`) {
		t.Errorf("a check lacks members that the vendor documents: %s", r.body)
	}
	if r := b.check(sandbox.DefaultToken); r.status != 200 || r.document(t).Data.UserID == nil {
		t.Errorf("check of the partner's token: %d %s", r.status, r.body)
	}
	if r := b.activate("143232423434"); r.status != 422 || r.code(t) != "activation_code_used" {
		t.Errorf("the second use: %d %s", r.status, r.body)
	}
	if e := b.activation("143232423434"); e.Requests != 2 || e.Effects != 1 || e.MerchantID != d.Data.MerchantID || e.Overlaps != 0 {
		t.Errorf("effects: %+v", e)
	}
	b.invite("anna@shop.example")
	if e := b.invitation("anna@shop.example"); e.Requests != 2 || e.Effects != 2 {
		t.Errorf("effects: %+v", e)
	}
}

func TestEveryAnswerHasARequestID(t *testing.T) {
	b := onTCP(t, sandbox.Options{})
	seen := map[string]bool{}
	for _, r := range []reply{
		b.invite("a@b"), b.activate("c"), b.activate("c"), b.activate("rejected-c"), b.check("wrong"), b.check(sandbox.DefaultToken),
		b.do("GET", "/", "", nil), b.do("DELETE", sandbox.InvitePath, "", nil), b.do("POST", sandbox.InvitePath, "{", nil), b.activate("html-c"),
	} {
		id := r.header.Get("X-Request-Id")
		if !uuidForm.MatchString(id) || seen[id] {
			t.Errorf("status %d: request id %q", r.status, id)
		}
		seen[id] = true
	}
	for _, q := range b.Requests() {
		if !seen[q.RequestID] {
			t.Errorf("the log has an id that nobody got: %+v", q)
		}
	}
}

// TestRefusals walks over what the contract refuses before a value is looked at.
func TestRefusals(t *testing.T) {
	const ok = `{"partnerId":"` + sandbox.DefaultPartnerID + `","activationCode":"c"}`
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	del := func(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(name) } }
	a, i, c := sandbox.ActivatePath, sandbox.InvitePath, sandbox.CheckPath
	for _, tc := range []struct {
		name, method, path, body string
		change                   func(*http.Request)
		status                   int
		code, field              string
	}{
		{"unknown route", "POST", "/v3/nothing", ok, nil, 404, "not_found_http_exception", ""},
		{"route in capitals", "POST", strings.ToUpper(a), ok, nil, 404, "not_found_http_exception", ""},
		{"route with a slash", "POST", a + "/", ok, nil, 404, "not_found_http_exception", ""},
		{"wrong method", "GET", a, "", nil, 405, "method_not_allowed_http_exception", ""},
		{"wrong method of the check", "POST", c, "", nil, 405, "method_not_allowed_http_exception", ""},
		{"no content type", "POST", a, ok, del("Content-Type"), 415, "unsupported_media_type_http_exception", ""},
		{"wrong content type", "POST", a, ok, set("Content-Type", "text/plain"), 415, "unsupported_media_type_http_exception", ""},
		{"content type with charset", "POST", a, ok, set("Content-Type", "Application/JSON; charset=utf-8"), 200, "", ""},
		{"wrong accept", "POST", a, ok, set("Accept", "text/html, image/*;q=0.1"), 406, "not_acceptable_http_exception", ""},
		{"any accept", "POST", a, `{"partnerId":"` + sandbox.DefaultPartnerID + `","activationCode":"d"}`, set("Accept", "text/html, */*;q=0.1"), 200, "", ""},
		{"no token", "POST", a, ok, del("Authorization"), 401, "unauthorized", ""},
		{"wrong token", "POST", a, ok, set("Authorization", "Bearer wrong"), 401, "unauthorized", ""},
		{"other scheme", "POST", a, ok, set("Authorization", "Basic "+sandbox.DefaultToken), 401, "unauthorized", ""},
		{"wrong token of the check", "GET", c, "", set("Authorization", "Bearer wrong"), 401, "unauthorized", ""},
		{"empty token of the check", "GET", c, "", set("Authorization", "Bearer "), 401, "unauthorized", ""},
		{"no JSON", "POST", a, `{"partnerId"`, nil, 400, "bad_request_http_exception", ""},
		{"no object", "POST", a, `["a"]`, nil, 400, "bad_request_http_exception", ""},
		{"empty body", "POST", a, ``, nil, 400, "bad_request_http_exception", ""},
		{"two documents", "POST", a, ok + ok, nil, 400, "bad_request_http_exception", ""},
		{"member twice", "POST", a, `{"partnerId":"a","partnerId":"b"}`, nil, 400, "bad_request_http_exception", ""},
		{"not UTF-8", "POST", a, "{\"partnerId\":\"\xff\"}", nil, 400, "bad_request_http_exception", ""},
		{"too large", "POST", a, `{"x":"` + strings.Repeat("x", 70_000) + `"}`, nil, 413, "request_entity_too_large_http_exception", ""},
		{"lower-case name", "POST", a, `{"partnerid":"` + sandbox.DefaultPartnerID + `","activationCode":"c"}`, nil, 422, "validation", "partnerId"},
		{"upper-case name", "POST", a, `{"partnerId":"` + sandbox.DefaultPartnerID + `","ActivationCode":"c"}`, nil, 422, "validation", "activationCode"},
		{"wrong type", "POST", a, `{"partnerId":"` + sandbox.DefaultPartnerID + `","activationCode":12}`, nil, 422, "validation", "activationCode"},
		{"null", "POST", a, `{"partnerId":null,"activationCode":"c"}`, nil, 422, "validation", "partnerId"},
		{"long code", "POST", a, activation(sandbox.DefaultPartnerID, strings.Repeat("ю", 37)), nil, 422, "validation", "activationCode"},
		{"code of 36 characters", "POST", a, activation(sandbox.DefaultPartnerID, strings.Repeat("ю", 36)), nil, 200, "", ""},
		{"another's partner id", "POST", a, activation("somebody-else", "c"), nil, 422, "validation", "partnerId"},
		{"no type", "POST", i, `{"partnerId":"` + sandbox.DefaultPartnerID + `","identifier":"a@b"}`, nil, 422, "validation", "type"},
		{"wrong kind", "POST", i, `{"partnerId":"` + sandbox.DefaultPartnerID + `","type":"phone","identifier":"a@b"}`, nil, 422, "validation", "type"},
		{"long address", "POST", i, `{"partnerId":"` + sandbox.DefaultPartnerID + `","type":"email","identifier":"` + strings.Repeat("a", 99) + `@b"}`, nil, 422, "validation", "identifier"},
		{"no address", "POST", i, `{"partnerId":"` + sandbox.DefaultPartnerID + `","type":"email","identifier":"anna"}`, nil, 422, "validation", "identifier"},
		{"unknown members", "POST", i, `{"x":[1,{}],"partnerId":"` + sandbox.DefaultPartnerID + `","type":"email","identifier":"a@b"}`, nil, 200, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := onTCP(t, sandbox.Options{})
			r := b.do(tc.method, tc.path, tc.body, tc.change)
			if r.status != tc.status || r.code(t) != tc.code {
				t.Fatalf("status %d, body %s", r.status, r.body)
			}
			if d := r.document(t); tc.field != "" && (len(d.Error.Fields) != 1 || d.Error.Fields[0].Name != tc.field || d.Error.Fields[0].Code == "") {
				t.Errorf("fields: %s", r.body)
			}
			requests := b.Requests()
			if len(requests) != 1 || requests[0].Status != tc.status || requests[0].Effect != (tc.status == 200) {
				t.Errorf("log: %+v", requests)
			}
		})
	}
}

func TestCheckWithoutATokenHasNoUser(t *testing.T) {
	b := onTCP(t, sandbox.Options{})
	r := b.do("GET", sandbox.CheckPath, "", func(r *http.Request) { r.Header.Del("Authorization") })
	if r.status != 200 || r.document(t).Data.UserID != nil || !strings.Contains(r.body, `"extendedData":[]`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := b.check(b.TokenOf("never-used")); r.status != 401 {
		t.Errorf("a token that nobody was given: %d", r.status)
	}
}

func TestReadings(t *testing.T) {
	strict := func(agent string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("User-Agent", agent) }
	}
	t.Run("user agent", func(t *testing.T) {
		b := onTCP(t, sandbox.Options{StrictUserAgent: true})
		for agent, want := range map[string]int{"Bitrix/21.0 (Invoicebox 3.0)": 200, "x": 400, "": 400, "a/b": 400, "a/b ()": 400} {
			if r := b.activateAs("c-"+agent, strict(agent)); r.status != want {
				t.Errorf("%q: %d %s", agent, r.status, r.body)
			}
		}
	})
	t.Run("ids", func(t *testing.T) {
		b := onTCP(t, sandbox.Options{InvitationIDs: sandbox.Ints})
		if d := b.invite("a@b").document(t); d.Data.ID.Kind() != '0' {
			t.Errorf("id %s", d.Data.ID)
		}
	})
	t.Run("refusal", func(t *testing.T) {
		for _, status := range []int{400, 403, 404, 409, 422} {
			b := onTCP(t, sandbox.Options{RefusalStatus: status, RefusalCode: "wrong_code", RefusalFields: true})
			r := b.activate("rejected-1")
			if d := r.document(t); r.status != status || d.Error.Code != "wrong_code" || d.Error.Fields[0].Name != "activationCode" {
				t.Errorf("%d %s", r.status, r.body)
			}
		}
	})
	t.Run("flat", func(t *testing.T) {
		b := onTCP(t, sandbox.Options{FlatErrors: true})
		for _, r := range []reply{b.activate("rejected-1"), b.check("x"), b.do("GET", "/", "", nil)} {
			if d := r.document(t); d.Error != nil || d.Code == "" || d.Message == "" {
				t.Errorf("%d %s", r.status, r.body)
			}
		}
	})
	t.Run("token status", func(t *testing.T) {
		b := onTCP(t, sandbox.Options{EmptyTokenStatus: 403, WrongTokenStatus: 403})
		if r := b.check("x"); r.status != 403 || r.code(t) != "forbidden" {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := b.activateAs("c", func(r *http.Request) { r.Header.Del("Authorization") }); r.status != 403 {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("reuse", func(t *testing.T) {
		other := sandbox.Account{PartnerID: "other", Token: "4:b"}
		mine := sandbox.Account{PartnerID: sandbox.DefaultPartnerID, Token: sandbox.DefaultToken}
		b := onTCP(t, sandbox.Options{CodeReuse: sandbox.Repeatable, Accounts: []sandbox.Account{mine, other}})
		first, second := b.activate("c"), b.activate("c")
		if second.status != 200 || second.body != first.body {
			t.Errorf("%d %s", second.status, second.body)
		}
		if e := b.activation("c"); e.Effects != 1 || e.Requests != 2 {
			t.Errorf("%+v", e)
		}
		as := func(r *http.Request) { r.Header.Set("Authorization", "Bearer 4:b") }
		if r := b.do("POST", sandbox.ActivatePath, activation("other", "c"), as); r.status != 422 || r.code(t) != "activation_code_used" {
			t.Errorf("another account: %d %s", r.status, r.body)
		}
	})
	t.Run("only planted", func(t *testing.T) {
		b := onTCP(t, sandbox.Options{OnlyPlantedCodes: true})
		if err := b.AddCode(sandbox.Code{Code: "known"}); err != nil {
			t.Fatal(err)
		}
		if known, unknown := b.activate("known"), b.activate("unknown"); known.status != 200 || unknown.status != 422 {
			t.Errorf("%d %d", known.status, unknown.status)
		}
	})
	t.Run("base path", func(t *testing.T) {
		b := onTCP(t, sandbox.Options{BasePath: "/circuit breaker/one"})
		if r := b.activate("c"); r.status != 404 {
			t.Errorf("without: %d", r.status)
		}
		b.base += "/circuit breaker/one"
		if r := b.activate("c"); r.status != 200 {
			t.Errorf("with: %d", r.status)
		}
	})
}

func TestSignature(t *testing.T) {
	account := sandbox.Account{PartnerID: sandbox.DefaultPartnerID, Token: sandbox.DefaultToken, SigningKey: "key"}
	sha1Of := func(body string) []byte {
		m := hmac.New(sha1.New, []byte("key"))
		m.Write([]byte(body))
		return m.Sum(nil)
	}
	sha256Of := func(body string) []byte {
		m := hmac.New(sha256.New, []byte("key"))
		m.Write([]byte(body))
		return m.Sum(nil)
	}
	body := activation(sandbox.DefaultPartnerID, "c")
	for _, tc := range []struct {
		algorithm, encoding, signature string
		status                         int
	}{
		{"", "", hex.EncodeToString(sha1Of(body)), 200},
		{"", "", hex.EncodeToString(sha1Of(body + " ")), 403},
		{"", "", "", 403},
		{"", "", "zz", 403},
		{"hmac-sha256", "base64", base64.StdEncoding.EncodeToString(sha256Of(body)), 200},
		{"hmac-sha256", "base64", hex.EncodeToString(sha256Of(body)), 403},
	} {
		account.SigningAlgorithm, account.SigningEncoding = tc.algorithm, tc.encoding
		b := onTCP(t, sandbox.Options{Accounts: []sandbox.Account{account}})
		r := b.activateAs("c", func(r *http.Request) { r.Header.Set("X-Signature", tc.signature) })
		if r.status != tc.status {
			t.Errorf("%+v: %d %s", tc, r.status, r.body)
		}
		if r := b.check(sandbox.DefaultToken); r.status != 200 {
			t.Errorf("the check has no body to sign: %d", r.status)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	two := func(a, b sandbox.Account) sandbox.Options {
		return sandbox.Options{Accounts: []sandbox.Account{a, b}}
	}
	for name, o := range map[string]sandbox.Options{
		"profile":            {Profile: "wild"},
		"latency":            {Latency: -1},
		"window":             {Window: -1},
		"max records":        {MaxRecords: -1},
		"base path":          {BasePath: "x"},
		"refusal status":     {RefusalStatus: 500},
		"empty token status": {EmptyTokenStatus: 200},
		"wrong token status": {WrongTokenStatus: 200},
		"code reuse":         {CodeReuse: "twice"},
		"count at":           {CountAt: "never"},
		"invitation ids":     {InvitationIDs: "hex"},
		"the partner id":     two(sandbox.Account{Token: "t-secret"}, sandbox.Account{}),
		"the token":          two(sandbox.Account{PartnerID: "p", Token: "t-secret t"}, sandbox.Account{}),
		"this partner id":    two(sandbox.Account{PartnerID: "p", Token: "t-secret"}, sandbox.Account{PartnerID: "p", Token: "u"}),
		"this token":         two(sandbox.Account{PartnerID: "p", Token: "t-secret"}, sandbox.Account{PartnerID: "q", Token: "t-secret"}),
		"signing algorithm":  two(sandbox.Account{PartnerID: "p", Token: "t-secret", SigningAlgorithm: "md5"}, sandbox.Account{}),
		"signing encoding":   two(sandbox.Account{PartnerID: "p", Token: "t-secret", SigningEncoding: "rot13"}, sandbox.Account{}),
	} {
		_, err := sandbox.New(o)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "t-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
