package endpoint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials/credentialstest"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

func TestShops(t *testing.T) {
	for _, c := range []struct {
		text     string
		contains []journal.ShopKey
		others   []journal.ShopKey
	}{
		{"invoicebox/*", []journal.ShopKey{{Account: "default", Shop: "a"}, {Account: "second", Shop: "b/c"}}, nil},
		{"invoicebox/default/*", []journal.ShopKey{{Account: "default", Shop: "a"}, {Account: "default", Shop: ".."}}, []journal.ShopKey{{Account: "default2", Shop: "a"}, {Account: "Default", Shop: "a"}, {Account: "", Shop: "a"}}},
		{"invoicebox/default/shop-1", []journal.ShopKey{{Account: "default", Shop: "shop-1"}}, []journal.ShopKey{{Account: "default", Shop: "shop-11"}, {Account: "second", Shop: "shop-1"}, {Account: "default", Shop: ""}}},
		{"invoicebox/default/b32-fy", []journal.ShopKey{{Account: "default", Shop: "."}}, []journal.ShopKey{{Account: "default", Shop: "b32-fy"}}},
	} {
		t.Run(strings.ReplaceAll(c.text, "/", "_"), func(t *testing.T) {
			s, err := ParseShops(c.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range c.contains {
				if !s.Contain(k) {
					t.Errorf("%+v is not contained", k)
				}
			}
			for _, k := range c.others {
				if s.Contain(k) {
					t.Errorf("%+v is contained", k)
				}
			}
		})
	}
	t.Run("Refused", func(t *testing.T) {
		for _, text := range []string{
			"", "*", "invoicebox", "invoicebox/", "invoicebox/default", "invoicebox/default/", "invoicebox/*/shop", "invoicebox/*/*", "invoicebox//*", "other/default/*",
			"invoicebox/default/shop-*", "invoicebox/../*", "invoicebox/default/..", "invoicebox/default/a/b", "invoicebox/default/a?version=1", "invoicebox/default/a#/token",
			"/invoicebox/default/*", "secret/invoicebox/default/*", "invoicebox/default/b32-onug64bnge", "invoicebox/default/%2e%2e", "invoicebox/default/\x00", "INVOICEBOX/default/*",
		} {
			if s, err := ParseShops(text); err == nil {
				t.Errorf("%q is %+v", text, s)
			}
		}
	})
}

func TestParseCallers(t *testing.T) {
	for _, c := range []struct{ name, doc, want string }{
		{"Empty", "", "is empty"},
		{"NoCallers", "{}", "a list of 1 to 1000"},
		{"EmptyList", "callers: []", "a list of 1 to 1000"},
		{"NotYAML", "callers: [", "is not YAML of the form"},
		{"UnknownMember", "callers: [{name: a, token: MARKED, allow: [invoicebox/*]}]", "is not YAML of the form"},
		{"TokenInPlaceOfList", "callers: MARKED", "is not YAML of the form"},
		{"TwoDocuments", "callers: [{name: a, token-file: x, allow: [invoicebox/*]}]\n---\ncallers: []", "one YAML document"},
		{"DoubledMember", "callers: [{name: a, name: b, token-file: x, allow: [invoicebox/*]}]", "is not YAML of the form"},
		{"NoName", "callers: [{token-file: x, allow: [invoicebox/*]}]", "callers[0].name must be"},
		{"OddName", "callers: [{name: 'a b', token-file: x, allow: [invoicebox/*]}]", "callers[0].name must be"},
		{"NameTwice", "callers: [{name: a, token-file: x, allow: [invoicebox/*]}, {name: a, token-file: y, allow: [invoicebox/*]}]", "callers[1].name is that of another"},
		{"NoToken", "callers: [{name: a, allow: [invoicebox/*]}]", "callers[0].token-file must be set, or subject"},
		{"TokenAndSubject", "callers: [{name: a, token-file: x, subject: CN=a, allow: [invoicebox/*]}]", "callers[0].token-file must be set, or subject"},
		{"FileTwice", "callers: [{name: a, token-file: x, allow: [invoicebox/*]}, {name: b, token-file: x, allow: [invoicebox/*]}]", "callers[1].token-file is that of another"},
		{"SubjectTwice", "callers: [{name: a, subject: CN=a, allow: [invoicebox/*]}, {name: b, subject: CN=a, allow: [invoicebox/*]}]", "callers[1].subject"},
		{"SubjectOfOpenSSL", "callers: [{name: a, subject: 'CN = a, O = b', allow: [invoicebox/*]}]", "callers[0].subject must be spelled"},
		{"SubjectWithSlashes", "callers: [{name: a, subject: /CN=a/O=b, allow: [invoicebox/*]}]", "callers[0].subject must be spelled"},
		{"SubjectWithSpace", "callers: [{name: a, subject: 'CN=a, O=b', allow: [invoicebox/*]}]", "callers[0].subject must be spelled"},
		{"SubjectWithName", "callers: [{name: a, subject: 'CN=a,emailAddress=a@b', allow: [invoicebox/*]}]", "callers[0].subject must be spelled"},
		{"NothingAllowed", "callers: [{name: a, token-file: x}]", "callers[0].allow must be"},
		{"OddPath", "callers: [{name: a, token-file: x, allow: [invoicebox/*, default]}]", "callers[0].allow[1] must be"},
		{"RateOfZero", "callers: [{name: a, token-file: x, allow: [invoicebox/*], requests-per-second: 0}]", "requests-per-second must be"},
		{"RateOfNaN", "callers: [{name: a, token-file: x, allow: [invoicebox/*], requests-per-second: .nan}]", "requests-per-second must be"},
		{"RateOfInfinity", "callers: [{name: a, token-file: x, allow: [invoicebox/*], requests-per-second: .inf}]", "requests-per-second must be"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseCallers([]byte(c.doc))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "MARKED") {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	t.Run("Good", func(t *testing.T) {
		callers, err := ParseCallers([]byte("callers:\n- name: a\n  token-file: /x\n  allow: [invoicebox/default/*, invoicebox/second/shop-1]\n- {name: b, subject: 'CN=b,O=Shops', allow: [invoicebox/*], requests-per-second: 0.5}\n"))
		if err != nil || len(callers) != 2 || callers[0].Rate != defaultRate || callers[1].Rate != 0.5 || callers[1].Subject != "CN=b,O=Shops" || len(callers[0].Allow) != 2 {
			t.Errorf("%+v: %v", callers, err)
		}
	})
}

func TestOpenCallers(t *testing.T) {
	for _, c := range []struct {
		name, token string
		mode        os.FileMode
		want        string
	}{
		{"Short", "123456789012345", 0o600, "is shorter than 16 characters"},
		{"OpenToAll", markedCallerToken, 0o644, "is open to group or world"},
		{"TwoLines", markedCallerToken + "\n" + markedCallerToken, 0o600, "more than one line"},
		{"SameAsAnother", otherCallerToken, 0o600, "callers billing and checkout have the same token"},
		{"Scheme", "Bearer " + markedCallerToken, 0o600, "begins with the name of a scheme"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, doc := range map[string]string{"one": c.token, "two": otherCallerToken, "callers.yaml": fmt.Sprintf(twoCallers, dir)} {
				mode := os.FileMode(0o600)
				if name == "one" {
					mode = c.mode
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(doc), mode); err != nil {
					t.Fatal(err)
				}
			}
			_, err := OpenCallers(filepath.Join(dir, "callers.yaml"), false, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "MARKED") {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	t.Run("NoFile", func(t *testing.T) {
		if _, err := OpenCallers(filepath.Join(t.TempDir(), "callers.yaml"), false, nil); err == nil || !strings.Contains(err.Error(), "callers.yaml") {
			t.Error(err)
		}
	})
}

func TestCallersChange(t *testing.T) {
	// look makes the clock pass the time for which a look at the files is good.
	look := func(r *rig) error {
		<-time.After(2 * time.Second)
		return r.callers.Look()
	}
	known := func(r *rig, token string) bool { return r.callers.byToken(token) != nil }
	t.Run("Token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.write("one", "a-token-of-20-letters\n")
			if err := look(r); err != nil || known(r, markedCallerToken) || !known(r, "a-token-of-20-letters") || !known(r, otherCallerToken) {
				t.Errorf("the token was not replaced: %v", err)
			}
		})
	})
	t.Run("Callers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.write("callers.yaml", "callers: [{name: checkout, token-file: "+r.dir+"/two, allow: [invoicebox/*]}]")
			if err := look(r); err != nil || known(r, markedCallerToken) || !known(r, otherCallerToken) {
				t.Errorf("the caller was not removed: %v", err)
			}
		})
	})
	for _, c := range []struct{ name, file, text string }{
		{"BrokenFile", "callers.yaml", "callers: ["},
		{"BrokenToken", "one", "short"},
		{"SameToken", "one", otherCallerToken},
		{"SubjectWithoutAuthorities", "callers.yaml", "callers: [{name: a, subject: CN=a, allow: [invoicebox/*]}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.write(c.file, c.text)
				if err := look(r); err == nil || !known(r, markedCallerToken) || !known(r, otherCallerToken) {
					t.Errorf("the earlier callers are not in use: %v", err)
				}
				if strings.Contains(r.log.String(), "MARKED") {
					t.Error("a token is in the log")
				}
				// Once the files are right again they are used.
				r.write("one", markedCallerToken+"x")
				r.write("callers.yaml", fmt.Sprintf(twoCallers, r.dir)+"\n")
				if err := look(r); err != nil || !known(r, markedCallerToken+"x") || known(r, markedCallerToken) {
					t.Errorf("the files are not used: %v", err)
				}
			})
		})
	}
}

func FuzzParseCallers(f *testing.F) {
	f.Add([]byte("callers: [{name: a, token-file: x, allow: [invoicebox/*]}]"))
	f.Add([]byte("callers:\n- name: a\n  subject: CN=a\n  allow: [invoicebox/default/b32-fy]\n  requests-per-second: 1e3\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		callers, err := ParseCallers(doc)
		if err != nil {
			return
		}
		for _, c := range callers {
			if c.Name == "" || (c.TokenFile == "") == (c.Subject == "") || len(c.Allow) == 0 || !(c.Rate > 0) {
				t.Errorf("%q gives %+v", doc, c)
			}
		}
	})
}

func FuzzParseShops(f *testing.F) {
	for _, text := range []string{"invoicebox/*", "invoicebox/default/*", "invoicebox/default/b32-fy", "invoicebox/default/.."} {
		f.Add(text, "default", "shop-1")
	}
	f.Fuzz(func(t *testing.T, text, account, shop string) {
		s, err := ParseShops(text)
		if err != nil || !s.Contain(journal.ShopKey{Account: account, Shop: shop}) {
			return
		}
		// What contains a shop names its account, or all.
		if text != "invoicebox/*" && account != s.account {
			t.Errorf("%q contains %q of %q", text, shop, account)
		}
	})
}

// FuzzSubtree: a caller of one shop, or of one account, may read that and nothing else,
// however the others are named.
func FuzzSubtree(f *testing.F) {
	for _, shop := range credentialstest.Shops {
		f.Add("default", shop, "default", "shop-1")
	}
	f.Add("a/b", "c", "a", "b/c")
	f.Add("default", "*", "default", "x")
	f.Fuzz(func(t *testing.T, account, shop, otherAccount, otherShop string) {
		one, other := journal.ShopKey{Account: account, Shop: shop}, journal.ShopKey{Account: otherAccount, Shop: otherShop}
		ref := schemas.Reference{Store: schemas.StoreSealed, Mount: schemas.SealedMount, Account: account, Shop: shop}
		if ref.Check() != nil {
			return
		}
		own := strings.TrimPrefix(ref.Key(), schemas.SealedMount+"/")
		shops, err := ParseShops(own)
		if err != nil || !shops.Contain(one) || shops.Contain(other) != (one == other) {
			t.Errorf("%q: %v, contains %q: %t", own, err, other, shops.Contain(other))
		}
		all := path.Dir(own) + "/*"
		shops, err = ParseShops(all)
		if err != nil || !shops.Contain(one) || shops.Contain(other) != (account == otherAccount) {
			t.Errorf("%q: %v, contains %q: %t", all, err, other, shops.Contain(other))
		}
	})
}

func FuzzReference(f *testing.F) {
	f.Add("ref=ref%2Bsealed%3A%2F%2Fjournal%2Finvoicebox%2Fdefault%2Fshop-1%3Fversion%3D1")
	f.Add("ref=x&ref=y")
	f.Fuzz(func(t *testing.T, query string) {
		if ref, ok := referenceOf(query); ok && (ref.Check() != nil || strings.Count(query, "ref=") == 0) {
			t.Errorf("%q is %+v", query, ref)
		}
	})
}
