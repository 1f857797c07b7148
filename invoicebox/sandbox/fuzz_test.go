package sandbox_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/invoicebox/sandbox"
)

// FuzzAPI sends any body to both writes. Whatever it is, the response is of the
// documented shape and the books add up.
func FuzzAPI(f *testing.F) {
	for _, body := range []string{
		activation(sandbox.DefaultPartnerID, "143232423434"), activation(sandbox.DefaultPartnerID, "limited-2-x"), activation("x", "y"),
		`{"partnerId":"` + sandbox.DefaultPartnerID + `","type":"email","identifier":"anna@shop.example"}`,
		`{"partnerid":"a"}`, `{"a":1,"a":2}`, `null`, `[]`, `"`, "\xff", `{"activationCode":{"x":[[[[1]]]]}}`, `{"partnerId":1e999}`, "",
	} {
		f.Add(body, true)
		f.Add(body, false)
	}
	f.Fuzz(func(t *testing.T, body string, activate bool) {
		synctest.Test(t, func(t *testing.T) { tryBody(t, body, activate) })
	})
}

func tryBody(t *testing.T, body string, activate bool) {
	sb := newSandbox(t, sandbox.Options{})
	path, data := sandbox.InvitePath, "id"
	if activate {
		path, data = sandbox.ActivatePath, "token"
	}
	for range 2 {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+sandbox.DefaultToken)
		w, cut := record(sb.API(), r)
		if cut || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			continue
		}
		var d struct {
			Data  map[string]any `json:"data"`
			Error map[string]any `json:"error"`
		}
		if !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("not UTF-8: %q", w.Body)
		}
		wordy := strings.Contains(body, "-") && sb.Requests()[0].Fault != ""
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil && !wordy {
			t.Fatalf("%q gives %q: %v", body, w.Body, err)
		}
		switch {
		case wordy:
		case w.Code == 200 && d.Data[data] == nil, w.Code != 200 && d.Error["message"] == nil:
			t.Fatalf("%q gives %d %q", body, w.Code, w.Body)
		case d.Error != nil && d.Error["code"] == nil:
			t.Fatalf("%q gives no code: %q", body, w.Body)
		}
	}
	e, effects := sb.Effects(), 0
	for _, a := range e.Activations {
		if a.Effects > 1 || a.Requests != 2 {
			t.Fatalf("%+v", a)
		}
		effects += a.Effects
	}
	for _, i := range e.Invitations {
		effects += i.Effects
	}
	for _, q := range sb.Requests() {
		if q.Effect {
			effects--
		}
		if q.Pending {
			t.Fatalf("still under way: %+v", q)
		}
	}
	if effects != 0 || e.Overlaps != 0 {
		t.Fatalf("%+v", e)
	}
}

// record calls a handler; cut tells that it ended the connection.
func record(h http.Handler, r *http.Request) (w *httptest.ResponseRecorder, cut bool) {
	w = httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			cut = true
		}
	}()
	h.ServeHTTP(w, r)
	return w, false
}

// FuzzAdmin sends any body to both plants. A refusal is a document that says
// why; what was planted can be asked for without a panic.
func FuzzAdmin(f *testing.F) {
	for _, body := range []string{
		`{"code":"c","merchantId":"m","token":"t","partnerId":"","reusable":true}`, `{"operation":"activate","match":"*","status":500,"times":2}`,
		`{"body":{"a":[1]},"headers":{"a":"b"},"effect":true,"cut":"body"}`, `{"body":"\ud800"}`, `{"times":9223372036854775807}`, `{"x":1}`, `{`, `[]`,
		`{"status":101}`, `{"headers":{"":""}}`, `{"delay":"1ns"}`,
	} {
		f.Add(body, true)
		f.Add(body, false)
	}
	f.Fuzz(func(t *testing.T, body string, codes bool) {
		synctest.Test(t, func(t *testing.T) { tryPlant(t, body, codes) })
	})
}

func tryPlant(t *testing.T, body string, codes bool) {
	sb := newSandbox(t, sandbox.Options{})
	path := "/answers"
	if codes {
		path = "/codes"
	}
	r := httptest.NewRequest(http.MethodPost, "http://localhost"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w, _ := record(sb.Admin(), r)
	switch w.Code {
	case 200, 204:
	case 400, 413:
		var d struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || d.Error == "" {
			t.Fatalf("%q gives %d %q: %v", body, w.Code, w.Body, err)
		}
		return
	default:
		t.Fatalf("%q gives %d", body, w.Code)
	}
	for range 2 {
		call := httptest.NewRequest(http.MethodPost, sandbox.ActivatePath, strings.NewReader(activation(sandbox.DefaultPartnerID, "c")))
		call.Header.Set("Content-Type", "application/json")
		call.Header.Set("Authorization", "Bearer "+sandbox.DefaultToken)
		if w, cut := record(sb.API(), call); !cut && (w.Code < 200 || w.Code > 599) {
			t.Fatalf("status %d", w.Code)
		}
	}
	if e := sb.Effects(); len(e.Activations) > 0 && e.Activations[0].Effects > 1 && !strings.Contains(body, "reusable") {
		t.Fatalf("%+v", e)
	}
}
