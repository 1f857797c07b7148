package invoicebox_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// seenRequest makes one call and gives the request that the server saw.
func seenRequest(t *testing.T, change func(*invoicebox.Options), op invoicebox.Operation) (*http.Request, string, invoicebox.Exchange) {
	t.Helper()
	var req *http.Request
	var body []byte
	m := &memory{handle: func(s *served) {
		var ok bool
		if req, body, ok = s.request(); ok {
			s.say(answer(200, good(op)))
		}
	}}
	o := options("http://127.0.0.1", m.transport())
	if change != nil {
		change(&o)
	}
	client, _ := newClient(t, o)
	x := perform(t.Context(), client, op, invoicebox.CallOptions{})
	m.wait.Wait()
	if x.Written != m.bytes.Load() {
		t.Errorf("%d bytes written, %d seen", x.Written, m.bytes.Load())
	}
	return req, string(body), x
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		op           invoicebox.Operation
		method, path string
		body, token  string
		headers      []string
	}{
		{invoicebox.Invite, "POST", "/v3/notification/api/invite",
			`{"partnerId":"` + partnerID + `","type":"email","identifier":"` + markedEmail + `"}`, markedToken,
			[]string{"Accept", "Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent", "X-Signature"}},
		{invoicebox.Activate, "POST", "/v3/billing/api/merchant/merchant-integration-setting/activation",
			`{"partnerId":"` + partnerID + `","activationCode":"` + markedCode + `"}`, markedToken,
			[]string{"Accept", "Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent", "X-Signature"}},
		{invoicebox.Check, "GET", "/v3/security/api/auth/auth", "", markedShopToken,
			[]string{"Accept", "Accept-Encoding", "Authorization", "User-Agent"}},
		{invoicebox.CheckOwn, "GET", "/v3/security/api/auth/auth", "", markedToken,
			[]string{"Accept", "Accept-Encoding", "Authorization", "User-Agent", "X-Signature"}},
	} {
		for base, prefix := range map[string]string{"http://127.0.0.1": "", "http://127.0.0.1/": "", "http://LocalHost:81/some/path/": "/some/path"} {
			req, body, _ := seenRequest(t, func(o *invoicebox.Options) { o.BaseURL = base }, c.op)
			if req.Method != c.method || req.URL.RequestURI() != prefix+c.path || body != c.body || req.Proto != "HTTP/1.1" || !strings.Contains(base, req.Host) {
				t.Errorf("%s: %s %s %s %s", c.op, req.Method, req.URL, req.Host, body)
			}
			var names []string
			for name := range req.Header {
				names = append(names, name)
			}
			slices.Sort(names)
			if diff := cmp.Diff(c.headers, names); diff != "" {
				t.Errorf("%s: headers %s", c.op, diff)
			}
			if req.Header.Get("Authorization") != "Bearer "+c.token || req.Header.Get("Accept") != "application/json" || req.Header.Get("Accept-Encoding") != "identity" ||
				!strings.HasPrefix(req.Header.Get("User-Agent"), "invoicebox-worker/") || !strings.HasSuffix(req.Header.Get("User-Agent"), " (Go)") {
				t.Errorf("%s: %v", c.op, req.Header)
			}
		}
	}
}

func TestBodiesAreJSON(t *testing.T) {
	for _, value := range []string{`a"b\c`, "tab\tand\x00nul", "кодовое слово", "</script>&"} {
		var body []byte
		m := &memory{handle: func(s *served) { _, body, _ = s.request() }}
		client, _ := newClient(t, options("http://127.0.0.1", m.transport()))
		client.Activate(t.Context(), invoicebox.CallOptions{}, secret.New(value))
		m.wait.Wait()
		if got := decode(t, body)["activationCode"]; got != value {
			t.Errorf("%q came as %q", value, got)
		}
	}
}

func TestSignature(t *testing.T) {
	for _, c := range []struct {
		algorithm, encoding string
		hash                func() hash.Hash
		encode              func([]byte) string
	}{
		{"", "", sha1.New, hex.EncodeToString},
		{"hmac-sha1", "hex", sha1.New, hex.EncodeToString},
		{"hmac-sha256", "base64", sha256.New, base64.StdEncoding.EncodeToString},
		{"hmac-sha512", "", sha512.New, hex.EncodeToString},
	} {
		req, body, _ := seenRequest(t, func(o *invoicebox.Options) {
			o.Signing.Algorithm, o.Signing.Encoding = c.algorithm, c.encoding
		}, invoicebox.Activate)
		mac := hmac.New(c.hash, []byte(markedKey))
		mac.Write([]byte(body))
		if got, want := req.Header.Get("X-Signature"), c.encode(mac.Sum(nil)); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
	if req, _, _ := seenRequest(t, func(o *invoicebox.Options) { o.Signing = nil }, invoicebox.Activate); req.Header.Get("X-Signature") != "" {
		t.Error("signed without a key")
	}
}

// A secret that cannot be used is named by its setting, and nothing is sent.
func TestBadSecrets(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*invoicebox.Options)
		value   secret.String
		err     error
		word    string
		outcome invoicebox.Outcome
	}{
		"no token":        {func(o *invoicebox.Options) { o.Token = func() secret.String { return secret.String{} } }, secret.New("c"), invoicebox.ErrSetting, "Token", invoicebox.NotExecuted},
		"token with a LF": {func(o *invoicebox.Options) { o.Token = func() secret.String { return secret.New(markedToken + "\n") } }, secret.New("c"), invoicebox.ErrSetting, "Token", invoicebox.NotExecuted},
		"Cyrillic token":  {func(o *invoicebox.Options) { o.Token = func() secret.String { return secret.New(markedToken + "я") } }, secret.New("c"), invoicebox.ErrSetting, "Token", invoicebox.NotExecuted},
		"endless token": {func(o *invoicebox.Options) {
			o.Token = func() secret.String { return secret.New(strings.Repeat(markedToken, 999)) }
		}, secret.New("c"), invoicebox.ErrSetting, "Token", invoicebox.NotExecuted},
		"no key":           {func(o *invoicebox.Options) { o.Signing.Key = func() secret.String { return secret.String{} } }, secret.New("c"), invoicebox.ErrSetting, "Signing.Key", invoicebox.NotExecuted},
		"no value":         {nil, secret.String{}, invoicebox.ErrValue, "", invoicebox.OurFault},
		"value not UTF-8":  {nil, secret.New(markedCode + "\xff"), invoicebox.ErrValue, "", invoicebox.OurFault},
		"value of 2 KB":    {nil, secret.New(strings.Repeat("x", 2000) + markedCode), invoicebox.ErrValue, "", invoicebox.OurFault},
		"client is closed": {nil, secret.New("closed"), invoicebox.ErrClosed, "", invoicebox.NotExecuted},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{handle: func(*served) {}}
			o := options("http://127.0.0.1", m.transport())
			if c.change != nil {
				c.change(&o)
			}
			client, log := newClient(t, o)
			if errors.Is(c.err, invoicebox.ErrClosed) {
				client.Close()
			}
			x := client.Activate(t.Context(), invoicebox.CallOptions{}, c.value)
			if !errors.Is(x.Err, c.err) || !strings.Contains(x.Err.Error(), c.word) || x.Written != 0 || m.dials.Load() != 0 {
				t.Errorf("%v, %d written, %d dials", x.Err, x.Written, m.dials.Load())
			}
			if v := invoicebox.Classify(x); v.Outcome != c.outcome {
				t.Errorf("%+v", v)
			}
			mustNotLeak(t, x, log.String())
		})
	}
}

// The token is asked for with every call: a file may have changed.
func TestTokenIsReadForEveryCall(t *testing.T) {
	var seen []string
	m := &memory{handle: func(s *served) {
		for {
			req, _, ok := s.request()
			if !ok {
				return
			}
			seen = append(seen, req.Header.Get("Authorization"))
			s.say(answer(401, ""))
		}
	}}
	o := options("http://127.0.0.1", m.transport())
	tokens := []string{"one", "two"}
	o.Token = func() secret.String {
		next := tokens[0]
		tokens = tokens[1:]
		return secret.New(next)
	}
	client, _ := newClient(t, o)
	perform(t.Context(), client, invoicebox.Invite, invoicebox.CallOptions{})
	perform(t.Context(), client, invoicebox.CheckOwn, invoicebox.CallOptions{})
	if diff := cmp.Diff([]string{"Bearer one", "Bearer two"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestOptions(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		change func(*invoicebox.Options)
		word   string // "" where the options are good
	}{
		"as they are":        {func(*invoicebox.Options) {}, ""},
		"http on IPv6":       {func(o *invoicebox.Options) { o.BaseURL = "http://[::1]:8080/v" }, ""},
		"https":              {func(o *invoicebox.Options) { o.BaseURL = "https://api.invoicebox.ru" }, ""},
		"no URL":             {func(o *invoicebox.Options) { o.BaseURL = "" }, "BaseURL must be set"},
		"http elsewhere":     {func(o *invoicebox.Options) { o.BaseURL = "http://api.invoicebox.ru" }, "https"},
		"http on any":        {func(o *invoicebox.Options) { o.BaseURL = "http://0.0.0.0" }, "https"},
		"localhost's friend": {func(o *invoicebox.Options) { o.BaseURL = "http://localhost.example" }, "https"},
		"no scheme":          {func(o *invoicebox.Options) { o.BaseURL = "api.invoicebox.ru" }, "absolute"},
		"another scheme":     {func(o *invoicebox.Options) { o.BaseURL = "ftp://api.invoicebox.ru" }, "https"},
		"no host":            {func(o *invoicebox.Options) { o.BaseURL = "https:///v3" }, "absolute"},
		"password":           {func(o *invoicebox.Options) { o.BaseURL = "https://u:" + markedPassword + "@h" }, "user or password"},
		"broken password":    {func(o *invoicebox.Options) { o.BaseURL = "https://u:" + markedPassword + "%@h:x" }, "absolute"},
		"query":              {func(o *invoicebox.Options) { o.BaseURL = "https://h/?" }, "query"},
		"fragment":           {func(o *invoicebox.Options) { o.BaseURL = "https://h/#" }, "fragment"},
		"no partner":         {func(o *invoicebox.Options) { o.PartnerID = "" }, "PartnerID"},
		"partner with space": {func(o *invoicebox.Options) { o.PartnerID = "a b" }, "PartnerID"},
		"long partner":       {func(o *invoicebox.Options) { o.PartnerID = long }, "PartnerID"},
		"no token":           {func(o *invoicebox.Options) { o.Token = nil }, "Token"},
		"no key":             {func(o *invoicebox.Options) { o.Signing = &invoicebox.Signing{} }, "Signing.Key"},
		"algorithm":          {func(o *invoicebox.Options) { o.Signing.Algorithm = "md5" }, "Signing.Algorithm"},
		"encoding":           {func(o *invoicebox.Options) { o.Signing.Encoding = "rot13" }, "Signing.Encoding"},
		"user agent":         {func(o *invoicebox.Options) { o.UserAgent = "a\r\nX: y" }, "UserAgent"},
		"long user agent":    {func(o *invoicebox.Options) { o.UserAgent = long }, "UserAgent"},
		"short deadline":     {func(o *invoicebox.Options) { o.Deadline = time.Microsecond }, "Deadline"},
		"negative deadline":  {func(o *invoicebox.Options) { o.Deadline = -time.Second }, "Deadline"},
		"small answers":      {func(o *invoicebox.Options) { o.MaxResponseBytes = 1 }, "MaxAnswerBytes"},
		"huge answers":       {func(o *invoicebox.Options) { o.MaxResponseBytes = 2 << 20 }, "MaxAnswerBytes"},
	} {
		o := options("http://127.0.0.1:1", nil)
		c.change(&o)
		client, err := invoicebox.New(o)
		switch {
		case c.word == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.word != "" && (err == nil || !strings.Contains(err.Error(), c.word)):
			t.Errorf("%s: %v, want %q in it", name, err, c.word)
		}
		if err != nil && leaks(err.Error()) != nil {
			t.Errorf("%s: %v", name, err)
		}
		if client != nil {
			client.Close()
		}
	}
	// All that is wrong is told at once.
	_, err := invoicebox.New(invoicebox.Options{})
	for _, word := range []string{"BaseURL", "PartnerID", "Token"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not name %s", err, word)
		}
	}
}
