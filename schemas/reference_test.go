package schemas_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"invoicebox-worker/schemas"
)

func TestReferencesHaveOneSpelling(t *testing.T) {
	for text, want := range map[string]schemas.Reference{
		"ref+vault://secret/invoicebox/default/shop-1":                                        {Store: "vault", Mount: "secret", Account: "default", Shop: "shop-1"},
		"ref+vault://secret/invoicebox/default/shop-1?version=3":                              {Store: "vault", Mount: "secret", Account: "default", Shop: "shop-1", Version: 3},
		"ref+openbao://kv/team-7/invoicebox/second/Shop_1.x?version=12#/token":                {Store: "openbao", Mount: "kv/team-7", Account: "second", Shop: "Shop_1.x", Version: 12, Field: "token"},
		"ref+sealed://journal/invoicebox/default/7#/merchantId":                               {Store: "sealed", Mount: "journal", Account: "default", Shop: "7", Field: "merchantId"},
		"ref+vault://secret/invoicebox/default/b32-fyxc6":                                     {Store: "vault", Mount: "secret", Account: "default", Shop: "../"},
		"ref+vault://secret/invoicebox/default/b32-fyxa":                                      {Store: "vault", Mount: "secret", Account: "default", Shop: ".."},
		"ref+vault://secret/invoicebox/default/b32-miztelly":                                  {Store: "vault", Mount: "secret", Account: "default", Shop: "b32-x"},
		"ref+vault://secret/invoicebox/b32-pmqhs/b32-2c55bmgqwlilvufq":                        {Store: "vault", Mount: "secret", Account: "{ y", Shop: "лавка"},
		"ref+vault://invoicebox/invoicebox/invoicebox/invoicebox?version=9223372036854775807": {Store: "vault", Mount: "invoicebox", Account: "invoicebox", Shop: "invoicebox", Version: 1<<63 - 1},
	} {
		got, err := schemas.ParseReference(text)
		if err != nil || got != want {
			t.Errorf("%s: %v %+v, want %s", text, err, got, want.String())
		}
		if want.String() != text {
			t.Errorf("%+v is written %s", want, want.String())
		}
	}
}

func TestReferencesThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                 "",
		"no scheme":             "secret/invoicebox/default/shop-1",
		"unknown store":         "ref+awssecrets://secret/invoicebox/default/shop-1",
		"upper case store":      "ref+Vault://secret/invoicebox/default/shop-1",
		"user":                  "ref+vault://root:pw@secret/invoicebox/default/shop-1",
		"port":                  "ref+vault://secret:8200/invoicebox/default/shop-1",
		"address parameter":     "ref+vault://secret/invoicebox/default/shop-1?address=https://vault.example",
		"second parameter":      "ref+vault://secret/invoicebox/default/shop-1?version=3&token_env=X",
		"version twice":         "ref+vault://secret/invoicebox/default/shop-1?version=3&version=4",
		"version zero":          "ref+vault://secret/invoicebox/default/shop-1?version=0",
		"version with zero":     "ref+vault://secret/invoicebox/default/shop-1?version=03",
		"version with sign":     "ref+vault://secret/invoicebox/default/shop-1?version=+3",
		"version negative":      "ref+vault://secret/invoicebox/default/shop-1?version=-3",
		"version too large":     "ref+vault://secret/invoicebox/default/shop-1?version=9223372036854775808",
		"version empty":         "ref+vault://secret/invoicebox/default/shop-1?version=",
		"empty query":           "ref+vault://secret/invoicebox/default/shop-1?",
		"empty fragment":        "ref+vault://secret/invoicebox/default/shop-1#",
		"fragment of slash":     "ref+vault://secret/invoicebox/default/shop-1#/",
		"field without slash":   "ref+vault://secret/invoicebox/default/shop-1#token",
		"unknown field":         "ref+vault://secret/invoicebox/default/shop-1#/password",
		"query after fragment":  "ref+vault://secret/invoicebox/default/shop-1#/token?version=3",
		"percent escape":        "ref+vault://secret/invoicebox/default/shop%2D1",
		"climbing shop":         "ref+vault://secret/invoicebox/default/..",
		"climbing mount":        "ref+vault://secret/../invoicebox/default/shop-1",
		"dot":                   "ref+vault://secret/./invoicebox/default/shop-1",
		"empty segment":         "ref+vault://secret//invoicebox/default/shop-1",
		"no mount":              "ref+vault:///invoicebox/default/shop-1",
		"missing mount":         "ref+vault://invoicebox/default/shop-1",
		"mount like an escape":  "ref+vault://b32-me/invoicebox/default/shop-1",
		"other folder":          "ref+vault://secret/Invoicebox/default/shop-1",
		"no shop":               "ref+vault://secret/invoicebox/default/",
		"slash at the end":      "ref+vault://secret/invoicebox/default/shop-1/",
		"space":                 "ref+vault://secret/invoicebox/default/shop 1",
		"not escaped":           "ref+vault://secret/invoicebox/default/лавка",
		"escaped plain":         "ref+vault://secret/invoicebox/default/b32-onug64bnge",
		"escape in upper case":  "ref+vault://secret/invoicebox/default/b32-FYXA",
		"escape with padding":   "ref+vault://secret/invoicebox/default/b32-fyxa====",
		"escape with more bits": "ref+vault://secret/invoicebox/default/b32-fyxb",
		"escape of nothing":     "ref+vault://secret/invoicebox/default/b32-",
		"escape with newline":   "ref+vault://secret/invoicebox/default/b32-fy\nxa",
		"escape of NUL":         "ref+vault://secret/invoicebox/default/b32-meage",
		"escape of no UTF-8":    "ref+vault://secret/invoicebox/default/b32-74",
		"sealed elsewhere":      "ref+sealed://secret/invoicebox/default/shop-1",
		"shop too long":         "ref+vault://secret/invoicebox/default/" + strings.Repeat("s", 129),
		"mount too long":        "ref+vault://" + strings.Repeat("m/", 128) + "m/invoicebox/default/shop-1",
		"over 1 KiB":            "ref+vault://" + strings.Repeat("m", 1024) + "/invoicebox/default/shop-1",
	} {
		r, err := schemas.ParseReference(text)
		if !errors.Is(err, schemas.ErrReference) || r != (schemas.Reference{}) {
			t.Errorf("%s: %v %v", name, r, err)
		}
		if err != nil && text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error quotes the text", name)
		}
	}
}

func TestABadReferenceIsNotWritten(t *testing.T) {
	good := schemas.Reference{Store: schemas.StoreVault, Mount: "secret", Account: "default", Shop: "shop-1"}
	for name, change := range map[string]func(*schemas.Reference){
		"store":   func(r *schemas.Reference) { r.Store = "" },
		"mount":   func(r *schemas.Reference) { r.Mount = "../etc" },
		"account": func(r *schemas.Reference) { r.Account = "" },
		"shop":    func(r *schemas.Reference) { r.Shop = "" },
		"control": func(r *schemas.Reference) { r.Shop = "a\x00" },
		"version": func(r *schemas.Reference) { r.Version = -1 },
		"field":   func(r *schemas.Reference) { r.Field = "x" },
		"sealed":  func(r *schemas.Reference) { r.Store = schemas.StoreSealed },
	} {
		r := good
		change(&r)
		if r.Check() == nil || r.String() != "" || r.Key() != "" {
			t.Errorf("%s: %q %q", name, r.String(), r.Key())
		}
	}
	if got := (schemas.Reference{Store: "vault", Mount: "m", Account: "a", Shop: "s", Field: "token"}).Pinned(4).String(); got != "ref+vault://m/invoicebox/a/s?version=4" {
		t.Errorf("pinned: %s", got)
	}
}

// Two shops never share a path, and no path leaves its folder, also for those
// who read references with a URL parser.
func TestShopsHaveTheirOwnPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringN(1, 40, 128), rapid.SampledFrom([]string{".", "..", "b32-", "b32-fyxa", "a/b", "a%2Fb", "A", "a"}))
		one, two := text.Draw(t, "one"), text.Draw(t, "two")
		account := rapid.StringN(1, 20, 64).Draw(t, "account")
		a := schemas.Reference{Store: "vault", Mount: "kv/x", Account: account, Shop: one, Version: rapid.Int64Min(0).Draw(t, "version"), Field: rapid.SampledFrom([]string{"", "token", "merchantId"}).Draw(t, "field")}
		b := a
		b.Shop = two
		if a.Check() != nil || b.Check() != nil {
			return
		}
		if (a.Key() == b.Key()) != (one == two) {
			t.Fatalf("%q and %q: %s %s", one, two, a.Key(), b.Key())
		}
		if !inItsFolder(a.Key()) {
			t.Fatalf("%q leaves its folder: %s", one, a.Key())
		}
		back, err := schemas.ParseReference(a.String())
		if err != nil || back != a {
			t.Fatalf("%v: %+v, not %+v", err, back, a)
		}
		u, err := url.Parse(a.String())
		if err != nil || u.Host+u.Path != a.Key() || u.User != nil || u.Port() != "" || u.JoinPath().Path != u.Path {
			t.Fatalf("a URL parser reads %v: %v", u, err)
		}
	})
}

func inItsFolder(key string) bool {
	segments := strings.Split(key, "/")
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			return false
		}
	}
	return len(segments) >= 4 && segments[len(segments)-3] == "invoicebox"
}

func FuzzParseReference(f *testing.F) {
	f.Add("ref+vault://secret/invoicebox/default/shop-1?version=3#/token")
	f.Add("ref+sealed://journal/invoicebox/default/b32-fyxa")
	f.Add("ref+openbao://kv/a/invoicebox/b32-pmqhs/b32-2c55bmgqwlilvufq#/merchantId")
	f.Add("ref+vault://a@b:1/../invoicebox/%2e/b32-?x#")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := schemas.ParseReference(text)
		if err != nil {
			if r != (schemas.Reference{}) || err.Error() != schemas.ErrReference.Error() {
				t.Fatalf("%v with %v", r, err)
			}
			return
		}
		if r.String() != text || !inItsFolder(r.Key()) || !strings.Contains(text, r.Key()) {
			t.Fatalf("%q is written %q with key %q", text, r.String(), r.Key())
		}
	})
}
