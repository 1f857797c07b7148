package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/credentialstest"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
)

func newKeys(t *testing.T) *keyset.Set {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSealedConforms(t *testing.T) {
	credentialstest.Run(t, func(t *testing.T) credentialstest.Fixture {
		s := credentials.NewSealed(newKeys(t))
		return credentialstest.Fixture{Store: s, Resolve: func(_ context.Context, p credentials.Prepared) (credentials.Secret, error) {
			return s.Open(p.Row)
		}}
	})
}

func prepared(t *testing.T, s *credentials.Sealed) journal.Credential {
	t.Helper()
	p, err := s.Prepare(t.Context(), credentials.Secret{
		Shop: journal.ShopKey{Account: "default", Shop: "shop-1"}, Version: 2, MerchantID: "m-1", Token: secret.New("very-secret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.Row
}

// A ciphertext belongs to its row: whoever can write the database cannot give
// one shop another's token.
func TestSealedRowCannotBeMoved(t *testing.T) {
	s := credentials.NewSealed(newKeys(t))
	for name, move := range map[string]func(*journal.Credential){
		"another shop":        func(c *journal.Credential) { c.Shop.Shop = "shop-2" },
		"another account":     func(c *journal.Credential) { c.Shop.Account = "second" },
		"another version":     func(c *journal.Credential) { c.Version = 3 },
		"another merchant":    func(c *journal.Credential) { c.MerchantID = "m-2" },
		"a damaged byte":      func(c *journal.Credential) { c.Sealed[len(c.Sealed)-1] ^= 1 },
		"cut":                 func(c *journal.Credential) { c.Sealed = c.Sealed[:3] },
		"empty":               func(c *journal.Credential) { c.Sealed = nil },
		"a slash moved":       func(c *journal.Credential) { c.Shop = journal.ShopKey{Account: "default/shop-1", Shop: ""} },
		"shop in the account": func(c *journal.Credential) { c.Shop = journal.ShopKey{Account: "default", Shop: "shop-1/2"} },
	} {
		row := prepared(t, s)
		move(&row)
		if _, err := s.Open(row); !errors.Is(err, credentials.ErrUnreadable) {
			t.Errorf("%s: error %v, want ErrUnreadable", name, err)
		}
	}
	other := credentials.NewSealed(newKeys(t))
	if _, err := other.Open(prepared(t, s)); !errors.Is(err, credentials.ErrUnreadable) {
		t.Errorf("another keyset: error %v, want ErrUnreadable", err)
	}
}

func TestSealedNeverPrintsTheToken(t *testing.T) {
	s := credentials.NewSealed(newKeys(t))
	row := prepared(t, s)
	opened, err := s.Open(row)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{row, opened} {
			text := fmt.Sprintf(format, v)
			if strings.Contains(text, "very-secret") || strings.Contains(text, fmt.Sprintf("%x", "very-secret")) {
				t.Errorf("%s gives the token away", format)
			}
		}
	}
}
