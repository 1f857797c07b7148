package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Vault configures the access to secrets in OpenBao or Vault.
type Vault struct {
	Address   string        // vault-address; "": of the variables BAO_ADDR and VAULT_ADDR
	Namespace string        // vault-namespace; "": of the variables
	CAFile    string        // vault-ca-file; "": of the variables, else the system's authorities
	Mount     string        // vault-mount: of KV version 2
	Login     openbao.Login // vault-token-file, or the settings of another way to log in
}

// credentialStores are the stores of the service.
type credentialStores struct {
	all   *credentials.Stores
	named map[string]credentials.Store // by the scheme of references
	vault *openbao.Store               // nil: not configured
}

func (o *Options) credentialsStore() string {
	return cmp.Or(o.CredentialsStore, schemas.StoreSealed)
}

// storeOf returns the name of the store for the new secrets of an account.
func (o *Options) storeOf(a Account) string {
	return cmp.Or(a.CredentialsStore, o.credentialsStore())
}

// openStores creates the stores. It sends nothing. Sealed secrets can be read whichever
// store gets the new ones, and so can those in OpenBao or Vault if it is configured.
func openStores(o *Options, metrics *openbao.Metrics, log *slog.Logger) (*credentialStores, error) {
	s := &credentialStores{named: map[string]credentials.Store{schemas.StoreSealed: credentials.NewSealed(o.Keyset)}}
	if o.Vault != nil {
		var err error
		if s.vault, err = OpenVault(o, metrics, log); err != nil {
			return nil, err
		}
		for _, name := range []string{schemas.StoreOpenBao, schemas.StoreVault} {
			s.named[name] = s.vault.Named(name)
		}
	}
	accounts := map[string]credentials.Store{}
	for _, a := range o.Accounts {
		accounts[a.Name] = s.named[o.storeOf(a)]
	}
	s.all = credentials.NewStores(s.named[o.credentialsStore()], accounts, s.named)
	return s, nil
}

// OpenVault creates the store in OpenBao or Vault; metrics and log may be nil.
func OpenVault(o *Options, metrics *openbao.Metrics, log *slog.Logger) (*openbao.Store, error) {
	name := o.credentialsStore()
	if name == schemas.StoreSealed {
		name = schemas.StoreOpenBao
	}
	store, err := openbao.New(openbao.Config{
		Name: name, Address: o.Vault.Address, Namespace: o.Vault.Namespace, CAFile: o.Vault.CAFile, Mount: o.Vault.Mount, Login: o.Vault.Login,
		Keys: o.Keyset, Metrics: metrics, Logger: log,
	})
	if err != nil {
		return nil, &config.Error{Setting: "vault-address", Value: o.Vault.Address, Want: err.Error()}
	}
	return store, nil
}

// checkedShop is a shop that no platform has. Nothing is stored for it.
const checkedShop = "invoicebox-worker check"

// checkStores tries OpenBao or Vault, if it is configured, for the path of each
// account. A failure is only a warning for an account whose new secrets go to another
// store.
func checkStores(ctx context.Context, o Options) (out []CheckResult) {
	const name = "store"
	if o.Vault == nil {
		return nil
	}
	store, err := OpenVault(&o, nil, o.Logger)
	if err != nil {
		return []CheckResult{{name, CheckFailed, err.Error()}}
	}
	var takes, sealed []string
	for _, a := range o.Accounts {
		isSealed := o.storeOf(a) == schemas.StoreSealed
		if err := store.Ready(ctx, journal.ShopKey{Account: a.Name, Shop: checkedShop}); err != nil {
			verdict, words := CheckFailed, ""
			if isSealed {
				verdict, words = CheckWarning, "; new secrets of this account are sealed in the journal"
			}
			out = append(out, CheckResult{name, verdict, store.Address() + ": account " + a.Name + ": " + err.Error() + words})
			continue
		}
		if isSealed {
			sealed = append(sealed, a.Name)
		} else {
			takes = append(takes, a.Name)
		}
	}
	for _, found := range []struct {
		accounts []string
		words    string
	}{
		{takes, "takes secrets"}, {sealed, "could take secrets, which are sealed in the journal instead,"},
	} {
		if found.accounts != nil {
			out = append(out, CheckResult{name, CheckOK, fmt.Sprintf("%s %s of %s at %s/invoicebox; nothing was stored",
				store.Address(), found.words, strings.Join(found.accounts, ", "), o.Vault.Mount)})
		}
	}
	return out
}
