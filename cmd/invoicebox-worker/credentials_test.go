package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

var credentialsWord = regexp.MustCompile(`"msg":"serving credentials","address":"([^"]+)"`)

const callerToken = "MARKED-token-of-a-caller"

// A caller gets the token that the sandbox issued, from a worker with each database.
func TestCredentialsEndpoint(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*rig){
		"SQLite":     func(*rig) {},
		"PostgreSQL": func(r *rig) { r.journal = pgtest.Start(r.t).Database(r.t, "") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kafkatest.Embedded(t), calm())
			database(r)
			r.write("caller", callerToken+"\n")
			callers := r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.path("caller")+", allow: [invoicebox/default/*]}]")
			w := r.start("--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", callers)
			address := credentialsWord.FindStringSubmatch(w.log.String())[1]
			r.entered("shop-1", "143232423434")
			ref := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated).Credentials.Ref

			status, body := readCredentials(t, address, callerToken, ref)
			token := r.sandbox.TokenOf("143232423434")
			if status != http.StatusOK || !strings.Contains(body, `"token":"`+token+`"`) || !strings.Contains(body, `"merchantId":"`+r.sandbox.MerchantOf("143232423434")+`"`) {
				t.Errorf("status %d, %s", status, body)
			}
			if status, body = readCredentials(t, address, "MARKED-another-token", ref); status != http.StatusUnauthorized {
				t.Errorf("another token: status %d, %s", status, body)
			}
			if status, body = readCredentials(t, address, callerToken, strings.Replace(ref, "shop-1", "shop-2", 1)); status != http.StatusNotFound {
				t.Errorf("another shop: status %d, %s", status, body)
			}
			// The callers file and the token's are read again while the worker runs.
			if err := os.WriteFile(r.path("caller"), []byte("MARKED-next-token-of-a-caller\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			await(t, "the next token is accepted", func() bool {
				status, _ := readCredentials(t, address, "MARKED-next-token-of-a-caller", ref)
				return status == http.StatusOK
			})
			if status, _ = readCredentials(t, address, callerToken, ref); status != http.StatusUnauthorized {
				t.Errorf("the earlier token: status %d", status)
			}
			if _, metrics := w.get("/metrics"); !strings.Contains(metrics, `invoicebox_worker_credentials_requests_total{outcome="unknown_reference"} 1`) {
				t.Error("the metrics do not count the unknown reference")
			}
			if code := w.end(); code != exitDone {
				t.Errorf("exit status %d", code)
			}
			if log := w.log.String(); strings.Contains(log, "MARKED") || strings.Contains(log, token) {
				t.Error("the log contains a token")
			}
		})
	}
}

func readCredentials(t *testing.T, address, token, ref string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/credentials?ref="+url.QueryEscape(ref), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// What is missing between the settings of the endpoint is named.
func TestCredentialsSettings(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.write("caller", callerToken+"\n")
	callers := r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.path("caller")+", allow: [invoicebox/*]}]")
	subjects := r.write("subjects.yaml", "callers: [{name: billing, subject: CN=billing, allow: [invoicebox/*]}]")
	broken := r.write("broken.yaml", "callers: [{name: MARKED, token: "+callerToken+"}]")
	for _, c := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"CallersWithoutListen", []string{"--credentials-callers-file", callers}, "needs --credentials-listen"},
		{"NoCallers", []string{"--credentials-listen", "127.0.0.1:0"}, "--credentials-callers-file: must be set"},
		{"BeyondLoopback", []string{"--credentials-listen", ":0", "--credentials-callers-file", callers}, "needs --credentials-cert-file"},
		{"AllAddresses", []string{"--credentials-listen", "0.0.0.0:0", "--credentials-callers-file", callers}, "needs --credentials-cert-file"},
		{"CertificateWithoutKey", []string{"--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", callers, "--credentials-cert-file", "x"}, "needs --credentials-key-file"},
		{"SubjectWithoutAuthorities", []string{"--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", subjects}, "callers[0].subject needs --credentials-client-ca-file"},
		{"BrokenFile", []string{"--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", broken}, "is not YAML of the form"},
		{"AddressInUse", []string{"--credentials-listen", strings.TrimPrefix(r.api.URL, "http://"), "--credentials-callers-file", callers}, "--credentials-listen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := r.command(append(append([]string{"run"}, r.service()...), c.flags...)...)
			if code != exitFailed || !strings.Contains(errs, c.want) || strings.Contains(out+errs, "MARKED") {
				t.Errorf("exit status %d, want %q:\n%s%s", code, c.want, out, errs)
			}
		})
	}
}

// check tries the address of the endpoint.
func TestCredentialsEndpoint_Check(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.write("caller", callerToken+"\n")
	callers := r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.path("caller")+", allow: [invoicebox/*]}]")
	for _, c := range []struct{ address, want string }{
		{"127.0.0.1:0", "endpoint     ok"},
		{strings.TrimPrefix(r.api.URL, "http://"), "endpoint     warning"},
		{"localhost.invalid:1", "needs --credentials-cert-file"},
	} {
		_, out, _ := r.command(append(append([]string{"check"}, r.service()...), "--credentials-listen", c.address, "--credentials-callers-file", callers)...)
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: check does not say %q:\n%s", c.address, c.want, out)
		}
	}
}

// A reference without a version names the credentials in use, not newer ones that are
// stored and not announced yet.
func TestResolve_NewerThatIsNotAnnounced(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	r.entered("shop-1", "code-1")
	merchant := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated).MerchantID
	if err := r.sandbox.AddCode(sandbox.Code{Code: "code-2", MerchantID: merchant, Token: "newer-token"}); err != nil {
		t.Fatal(err)
	}
	if err := r.sandbox.AddStub(sandbox.Stub{Operation: sandbox.Check, Match: merchant, Times: -1, Status: http.StatusBadGateway}); err != nil {
		t.Fatal(err)
	}
	r.send(schemas.TypeCodeEntered, "newer", "shop-1", `{"shopId":"shop-1","activationCode":"code-2"}`)
	const ref = "ref+sealed://journal/invoicebox/default/shop-1"
	await(t, "the newer credentials are stored", func() bool {
		code, _, _ := r.command(append([]string{"resolve", ref + "?version=2"}, r.beside()...)...)
		return code == exitDone
	})
	if out := r.must(append([]string{"resolve", ref}, r.beside()...)...); strings.TrimSpace(out) != r.sandbox.TokenOf("code-1") {
		t.Error("credentials that are not announced were resolved")
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}
