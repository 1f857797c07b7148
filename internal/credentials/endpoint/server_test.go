package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

func TestRead(t *testing.T) {
	t.Run("Given", func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "shop-1")
		w := r.get(markedCallerToken, ref, nil)
		want := `{"account":"default","shopId":"shop-1","version":1,"merchantId":"merchant-shop-1","token":"MARKED-shop-token-shop-1-1"}`
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Etag") != `"1"` || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("status %d, %v, %s", w.Code, w.Header(), w.Body)
		}
		e := r.last()
		e.At = time.Time{}
		if diff := cmp.Diff(journal.AuditEntry{Actor: "caller:billing", Act: "credentials.read", Subject: "default/shop-1", Detail: ref}, e); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("CurrentVersion", func(t *testing.T) {
		r := newRig(t)
		r.keep("default", "shop-1")
		r.keep("default", "shop-1")
		for _, ref := range []string{shopRef(t, "default", "shop-1", 0), shopRef(t, "default", "shop-1", 2), shopRef(t, "default", "shop-1", 2) + "#/token"} {
			if w := r.get(markedCallerToken, ref, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"version":2`) {
				t.Errorf("%s: status %d, %s", ref, w.Code, w.Body)
			}
		}
	})
	t.Run("EscapedShop", func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "../Магазин 1")
		if w := r.get(markedCallerToken, ref, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"shopId":"../Магазин 1"`) {
			t.Errorf("status %d, %s", w.Code, w.Body)
		}
	})
	t.Run("NotModified", func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "shop-1")
		w := r.get(markedCallerToken, ref, func(q *http.Request) { q.Header.Set("If-None-Match", `"1"`) })
		if w.Code != http.StatusNotModified || w.Body.Len() != 0 || w.Header().Get("Etag") != `"1"` || !strings.HasSuffix(r.last().Detail, " not_modified") {
			t.Errorf("status %d, %s, audit %+v", w.Code, w.Body, r.last())
		}
		if w := r.get(markedCallerToken, ref, func(q *http.Request) { q.Header.Set("If-None-Match", `"2"`) }); w.Code != http.StatusOK {
			t.Errorf("status %d", w.Code)
		}
	})
	t.Run("Replaced", func(t *testing.T) {
		r := newRig(t)
		old := r.keep("default", "shop-1")
		newer := r.keep("default", "shop-1")
		p := wantProblem(t, r.get(markedCallerToken, old, nil), replaced)
		if p.CurrentRef != newer || p.CurrentVersion != 2 || r.last().Act != "credentials.refused" || !strings.HasPrefix(r.last().Detail, old) {
			t.Errorf("%+v, audit %+v", p, r.last())
		}
	})
	t.Run("Disconnected", func(t *testing.T) {
		r := newRig(t)
		old := r.keep("default", "shop-1")
		newer := r.keep("default", "shop-1")
		r.disconnected[journal.ShopKey{Account: "default", Shop: "shop-1"}] = true
		for _, ref := range []string{old, newer, shopRef(t, "default", "shop-1", 0), shopRef(t, "default", "shop-1", 9)} {
			p := wantProblem(t, r.get(markedCallerToken, ref, nil), disconnected)
			if p.CurrentRef != "" || p.CurrentVersion != 0 || r.last().Act != "credentials.refused" || r.last().Detail != ref+" disconnected" {
				t.Errorf("%s: %+v, audit %+v", ref, p, r.last())
			}
		}
		// A caller that may not read the shop cannot tell that it was connected.
		wantProblem(t, r.get(otherCallerToken, newer, nil), unknown)
	})
	t.Run("MovedToAnotherStore", func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "shop-1")
		row := &r.rows[journal.ShopKey{Account: "default", Shop: "shop-1"}][0]
		row.Reference, row.Sealed = "ref+openbao://secret/invoicebox/default/shop-1?version=1", nil
		if p := wantProblem(t, r.get(markedCallerToken, ref, nil), replaced); p.CurrentRef != row.Reference {
			t.Errorf("%+v", p)
		}
		// Versions of another store are numbered by it.
		wantProblem(t, r.get(markedCallerToken, strings.Replace(ref, "version=1", "version=9", 1), nil), replaced)
		// The server has no such store now.
		r.server.cfg.Secrets = credentials.NewStores(r.store, nil, map[string]credentials.Store{"sealed": r.store})
		wantProblem(t, r.get(markedCallerToken, row.Reference, nil), unavailable)
		if e := r.last(); e.Act != "credentials.refused" || e.Detail != row.Reference+" unavailable" {
			t.Errorf("audit %+v", e)
		}
	})
	t.Run("SecretThatTheStoreHadBefore", func(t *testing.T) {
		// The newest activation led to version 1 of the server, which holds its secret.
		r := newRig(t)
		shop := journal.ShopKey{Account: "default", Shop: "shop-1"}
		ref := func(version int) string {
			return fmt.Sprintf("ref+openbao://secret/invoicebox/default/shop-1?version=%d", version)
		}
		r.rows[shop] = []journal.Credential{{Shop: shop, Version: 2, Reference: ref(2), MerchantID: "m"}, {Shop: shop, Version: 3, Reference: ref(1), MerchantID: "m"}}
		if p := wantProblem(t, r.get(markedCallerToken, ref(2), nil), replaced); p.CurrentRef != ref(1) || p.CurrentVersion != 1 {
			t.Errorf("%+v", p)
		}
		wantProblem(t, r.get(markedCallerToken, ref(3), nil), unknown)
	})
	t.Run("KeyMissing", func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "shop-1")
		other, err := keyset.New()
		if err != nil {
			t.Fatal(err)
		}
		r.server.cfg.Secrets = credentials.NewSealed(other)
		wantProblem(t, r.get(markedCallerToken, ref, nil), keyMissing)
		if e := r.last(); e.Act != "credentials.refused" || e.Detail != ref+" key_missing" {
			t.Errorf("audit %+v", e)
		}
	})
	t.Run("RowOfAnotherShop", func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "shop-1")
		r.keep("default", "shop-2")
		one, two := r.rows[journal.ShopKey{Account: "default", Shop: "shop-1"}], r.rows[journal.ShopKey{Account: "default", Shop: "shop-2"}]
		one[0].Sealed = two[0].Sealed
		wantProblem(t, r.get(markedCallerToken, ref, nil), unreadable)
	})
	t.Run("Deleted", func(t *testing.T) {
		// One secret that is gone does not say that all are: the log does not change
		// between outage and recovery with each request.
		r := newRig(t)
		gone, other := r.keep("default", "shop-1"), r.keep("default", "shop-2")
		r.server.cfg.Secrets = absent{r.store, "shop-1"}
		for range 3 {
			wantProblem(t, r.get(markedCallerToken, gone, nil), unreadable)
			if e := r.last(); e.Act != "credentials.refused" || e.Detail != gone+" unreadable" {
				t.Errorf("audit %+v", e)
			}
			if w := r.get(markedCallerToken, other, nil); w.Code != http.StatusOK {
				t.Errorf("the other shop: status %d", w.Code)
			}
		}
		if log := r.log.String(); strings.Contains(log, "callers get status 503") || strings.Contains(log, "again") || strings.Count(log, "it was deleted") != 3 {
			t.Errorf("the log:\n%s", log)
		}
	})
	t.Run("JournalAway", func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "shop-1")
		for name, fail := range map[string][2]error{"read": {errors.New("away"), nil}, "audit": {nil, errors.New("full")}} {
			r.fail(fail[0], fail[1])
			w := r.get(markedCallerToken, ref, nil)
			wantProblem(t, w, unavailable)
			if w.Header().Get("Retry-After") != "5" || len(r.audit) != 0 {
				t.Errorf("%s: %v, audit %v", name, w.Header(), r.audit)
			}
		}
		// A refusal that cannot be audited is not sent either.
		r.fail(nil, errors.New("full"))
		wantProblem(t, r.get(markedCallerToken, shopRef(t, "second", "shop-1", 1), nil), unavailable)
		r.fail(nil, nil)
		if w := r.get(markedCallerToken, ref, nil); w.Code != http.StatusOK {
			t.Errorf("status %d", w.Code)
		}
		if n := strings.Count(r.log.String(), "credentials cannot be read or audited"); n != 1 {
			t.Errorf("%d lines in the log:\n%s", n, r.log)
		}
	})
}

// Whether a shop of others exists cannot be told.
func TestForbiddenLooksLikeUnknown(t *testing.T) {
	r := newRig(t)
	r.keep("default", "shop-1")
	r.keep("second", "shop-1")
	r.keep("second", "shop-2")
	var first *httptest.ResponseRecorder
	for _, c := range []struct{ name, token, ref string }{
		{"unknown shop", markedCallerToken, shopRef(t, "default", "nobody", 1)},
		{"unknown version", markedCallerToken, shopRef(t, "default", "shop-1", 7)},
		{"other's account", markedCallerToken, shopRef(t, "second", "shop-1", 1)},
		{"other's account, unknown shop", markedCallerToken, shopRef(t, "second", "nobody", 1)},
		{"unknown account", markedCallerToken, shopRef(t, "third", "shop-1", 1)},
		{"other shop of the account", otherCallerToken, shopRef(t, "second", "shop-2", 1)},
		{"shop whose name begins so", otherCallerToken, shopRef(t, "second", "shop-11", 1)},
	} {
		before := r.lookups
		w := r.get(c.token, c.ref, nil)
		wantProblem(t, w, unknown)
		if first == nil {
			first = w
		}
		if diff := cmp.Diff(first.Result().Header, w.Result().Header); diff != "" || first.Body.String() != w.Body.String() {
			t.Errorf("%s: another response: %s%s", c.name, w.Body, diff)
		}
		if strings.Contains(c.name, "other") && r.lookups != before {
			t.Errorf("%s: it was looked up", c.name)
		}
		if e := r.last(); e.Act != "credentials.refused" || e.Detail != c.ref+" unknown_reference" {
			t.Errorf("%s: audit %+v", c.name, e)
		}
	}
	if w := r.get(otherCallerToken, shopRef(t, "second", "shop-1", 1), nil); w.Code != http.StatusOK {
		t.Errorf("its own shop: status %d", w.Code)
	}
}

func TestAuthorization(t *testing.T) {
	r := newRig(t)
	ref := r.keep("default", "shop-1")
	for _, c := range []struct {
		name   string
		values []string
		ok     bool
	}{
		{"bearer", []string{"Bearer " + markedCallerToken}, true},
		{"scheme in lower case", []string{"bearer " + markedCallerToken}, true},
		{"none", nil, false},
		{"empty", []string{""}, false},
		{"no token", []string{"Bearer "}, false},
		{"no scheme", []string{markedCallerToken}, false},
		{"basic", []string{"Basic " + markedCallerToken}, false},
		{"twice", []string{"Bearer " + markedCallerToken, "Bearer " + markedCallerToken}, false},
		{"begin of a token", []string{"Bearer " + markedCallerToken[:len(markedCallerToken)-1]}, false},
		{"longer", []string{"Bearer " + markedCallerToken + "x"}, false},
		{"two spaces", []string{"Bearer  " + markedCallerToken}, false},
		{"large", []string{"Bearer " + strings.Repeat("x", maxTokenBytes+1)}, false},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			entries := len(r.audit)
			w := r.get("", ref, func(q *http.Request) { q.Header["Authorization"] = c.values })
			if c.ok {
				if w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
				return
			}
			wantProblem(t, w, unauthenticated)
			if w.Header().Get("Www-Authenticate") == "" || len(r.audit) != entries {
				t.Errorf("%v, %d audit entries", w.Header(), len(r.audit)-entries)
			}
		})
	}
}

// Other spellings of the path, the parameter and the reference reach nothing.
func TestTricks(t *testing.T) {
	r := newRig(t)
	ref := r.keep("default", "shop-1")
	r.keep("second", "shop-2")
	q := url.QueryEscape(ref)
	for _, c := range []struct {
		name, method, target string
		want                 outcome
	}{
		{"no parameter", "GET", Path, invalidRequest},
		{"empty", "GET", Path + "?ref=", invalidRequest},
		{"doubled", "GET", Path + "?ref=" + q + "&ref=" + q, invalidRequest},
		{"another one", "GET", Path + "?ref=" + q + "&x=1", invalidRequest},
		{"semicolon", "GET", Path + "?ref=" + q + ";ref=" + q, invalidRequest},
		{"name in capitals", "GET", Path + "?REF=" + q, invalidRequest},
		{"broken escape", "GET", Path + "?ref=%zz", invalidRequest},
		{"not UTF-8", "GET", Path + "?ref=%ff%fe", invalidRequest},
		{"zero byte", "GET", Path + "?ref=" + q + "%00", invalidRequest},
		{"line break", "GET", Path + "?ref=" + q + "%0a", invalidRequest},
		{"long", "GET", Path + "?ref=" + strings.Repeat("a", maxQueryBytes), invalidRequest},
		{"climbing", "GET", Path + "?ref=" + url.QueryEscape("ref+sealed://journal/invoicebox/default/../second/shop-2?version=1"), invalidRequest},
		{"escaped slash", "GET", Path + "?ref=" + url.QueryEscape("ref+sealed://journal/invoicebox/default%2f..%2fsecond/shop-2?version=1"), invalidRequest},
		{"doubled slash", "GET", Path + "?ref=" + url.QueryEscape("ref+sealed://journal/invoicebox//default/shop-1?version=1"), invalidRequest},
		{"two versions", "GET", Path + "?ref=" + url.QueryEscape("ref+sealed://journal/invoicebox/default/shop-1?version=1&version=2"), invalidRequest},
		{"address in the reference", "GET", Path + "?ref=" + url.QueryEscape("ref+sealed://evil.example/invoicebox/default/shop-1"), invalidRequest},
		{"escaped without need", "GET", Path + "?ref=" + url.QueryEscape("ref+sealed://journal/invoicebox/default/b32-onug64bnge"), invalidRequest},
		{"not escaped once", "GET", Path + "?ref=" + ref + "#/token", ""},
		{"path with dots", "GET", "/v1/../v1/credentials?ref=" + q, notFound},
		{"path with an escape", "GET", "/v1%2fcredentials?ref=" + q, notFound},
		{"path with a doubled slash", "GET", "//v1/credentials?ref=" + q, notFound},
		{"path with an end", "GET", Path + "/?ref=" + q, notFound},
		{"another path", "GET", "/metrics", notFound},
		{"absolute", "GET", "http://evil.example" + Path + "?ref=" + q, notFound},
		{"POST", "POST", Path + "?ref=" + q, wrongMethod},
		{"HEAD", "HEAD", Path + "?ref=" + q, wrongMethod},
		{"TRACE", "TRACE", Path + "?ref=" + q, wrongMethod},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			request := httptest.NewRequest(c.method, c.target, http.NoBody)
			request.Header.Set("Authorization", "Bearer "+markedCallerToken)
			w := httptest.NewRecorder()
			r.server.ServeHTTP(w, request)
			if c.want == "" {
				if strings.Contains(w.Body.String(), "shop-2") {
					t.Error("another shop's secret")
				}
				return
			}
			wantProblem(t, w, c.want)
		})
	}
	t.Run("Body", func(t *testing.T) {
		request := httptest.NewRequest(http.MethodGet, Path+"?ref="+q, strings.NewReader("body"))
		request.Header.Set("Authorization", "Bearer "+markedCallerToken)
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, request)
		wantProblem(t, w, invalidRequest)
		if w.Header().Get("Connection") != "close" {
			t.Error("the connection is kept")
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.dir+"/one, allow: [invoicebox/*], requests-per-second: 2}, {name: checkout, token-file: "+r.dir+"/two, allow: [invoicebox/*]}]")
		<-time.After(2 * time.Second)
		if err := r.callers.Look(); err != nil {
			t.Fatal(err)
		}
		ref := r.keep("default", "shop-1")
		codes := func(n int) (given, limited int) {
			for range n {
				switch w := r.get(markedCallerToken, ref, nil); w.Code {
				case http.StatusOK:
					given++
				case http.StatusTooManyRequests:
					limited++
					if w.Header().Get("Retry-After") != "1" {
						t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
					}
				}
			}
			return given, limited
		}
		if given, limited := codes(5); given != 2 || limited != 3 {
			t.Errorf("%d given, %d limited", given, limited)
		}
		if len(r.audit) != 2 {
			t.Errorf("%d audit entries", len(r.audit))
		}
		if w := r.get(otherCallerToken, ref, nil); w.Code != http.StatusOK {
			t.Errorf("another caller: status %d", w.Code)
		}
		// Reading the file again does not give a caller its requests back.
		if err := r.callers.Look(); err != nil {
			t.Fatal(err)
		}
		if given, _ := codes(1); given != 0 {
			t.Error("the rate began anew")
		}
		<-time.After(500 * time.Millisecond)
		if given, limited := codes(2); given != 1 || limited != 1 {
			t.Errorf("half a second later %d given, %d limited", given, limited)
		}
		<-time.After(time.Hour)
		if given, limited := codes(5); given != 2 || limited != 3 {
			t.Errorf("an hour later %d given, %d limited", given, limited)
		}
	})
}

// A secret, or a token of a caller, is in no log line, audit entry or metric.
func TestMarkedValues(t *testing.T) {
	r := newRig(t)
	old := r.keep("default", "shop-1")
	ref := r.keep("default", "shop-1")
	for _, one := range []string{ref, old, "MARKED-in-a-reference", shopRef(t, "second", "shop-1", 1)} {
		r.get(markedCallerToken, one, nil)
		r.get("MARKED-wrong-token", one, nil)
	}
	r.fail(errors.New("away"), nil)
	r.get(markedCallerToken, ref, nil)
	r.fail(nil, nil)
	r.write("one", "MARKED two lines\nMARKED")
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	all.WriteString(r.log.String())
	for _, f := range families {
		all.WriteString(f.String())
	}
	for _, e := range r.audit {
		all.WriteString(e.Actor + e.Act + e.Subject + e.Detail)
	}
	if !strings.Contains(all.String(), "credentials.read") || !strings.Contains(all.String(), "requests_total") {
		t.Fatal("nothing was searched")
	}
	if strings.Contains(all.String(), "MARKED") {
		t.Errorf("a secret is in\n%s", all.String())
	}
}

// absent is a store in which the secret of one shop was deleted.
type absent struct {
	Secrets
	shop string
}

func (a absent) Read(ctx context.Context, row journal.Credential) (credentials.Secret, error) {
	if row.Shop.Shop == a.shop {
		return credentials.Secret{}, credentials.ErrAbsent
	}
	return a.Secrets.Read(ctx, row)
}
