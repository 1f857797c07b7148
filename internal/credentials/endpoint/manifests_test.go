package endpoint

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/go-json-experiment/json"
	"gopkg.in/yaml.v3"

	"invoicebox-worker/schemas"
)

// A manifest is what the External Secrets Operator needs of one.
type manifest struct {
	Kind string `yaml:"kind"`
	Spec struct {
		Provider struct {
			Webhook struct {
				URL     string            `yaml:"url"`
				Method  string            `yaml:"method"`
				Headers map[string]string `yaml:"headers"`
			} `yaml:"webhook"`
			Vault struct {
				Path string `yaml:"path"`
			} `yaml:"vault"`
		} `yaml:"provider"`
		Data []struct {
			RemoteRef struct {
				Key      string `yaml:"key"`
				Property string `yaml:"property"`
				Version  string `yaml:"version"`
			} `yaml:"remoteRef"`
		} `yaml:"data"`
		DataFrom []struct {
			Extract struct {
				Key string `yaml:"key"`
			} `yaml:"extract"`
		} `yaml:"dataFrom"`
	} `yaml:"spec"`
}

func readManifests(t *testing.T, name string) map[string]manifest {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/external-secrets/" + name)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]manifest{}
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var m manifest
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[m.Kind] = m
	}
}

// The manifests make requests that the endpoint answers, and name paths that references
// have.
func TestExternalSecrets(t *testing.T) {
	t.Run("Webhook", func(t *testing.T) {
		all := readManifests(t, "webhook.yaml")
		store := all["SecretStore"].Spec.Provider.Webhook
		key := all["ExternalSecret"].Spec.DataFrom[0].Extract.Key
		// As the operator does: the key is escaped, and secrets are in reach.
		fill := func(text string) string {
			tmpl, err := template.New("").Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := tmpl.Execute(&out, map[string]map[string]string{"remoteRef": {"key": url.QueryEscape(key)}, "caller": {"token": markedCallerToken}}); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		target, err := url.Parse(fill(store.URL))
		if err != nil || target.Scheme != "https" {
			t.Fatal(target, err)
		}
		r := newRig(t)
		r.keep("default", "shop-1")
		r.keep("default", "shop-1")
		request := httptest.NewRequest(store.Method, target.RequestURI(), http.NoBody)
		for name, value := range store.Headers {
			request.Header.Set(name, fill(value))
		}
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, request)
		var values map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &values); err != nil || w.Code != http.StatusOK || values["token"] != markedShopToken+"-shop-1-2" || values["merchantId"] != "merchant-shop-1" {
			t.Errorf("status %d, %s: %v", w.Code, w.Body, err)
		}
	})
	t.Run("Vault", func(t *testing.T) {
		all := readManifests(t, "vault.yaml")
		mount := all["SecretStore"].Spec.Provider.Vault.Path
		data := all["ExternalSecret"].Spec.Data
		if len(data) != 2 {
			t.Fatalf("%+v", data)
		}
		for _, d := range data {
			ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: mount, Account: "default", Shop: "shop-1"}
			if got := mount + "/" + d.RemoteRef.Key; got != ref.Key() {
				t.Errorf("the path is %s, want %s", got, ref.Key())
			}
			text := "ref+openbao://" + mount + "/" + d.RemoteRef.Key + "?version=" + d.RemoteRef.Version + "#/" + d.RemoteRef.Property
			if _, err := schemas.ParseReference(text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	})
}
