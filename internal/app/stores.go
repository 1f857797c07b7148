package app

import (
	"cmp"
	"context"
	"log/slog"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Vault says how secrets in OpenBao or Vault are reached.
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
	vault *openbao.Store // nil: not configured
}

func (o *Options) credentialsStore() string {
	return cmp.Or(o.CredentialsStore, schemas.StoreSealed)
}

// openStores makes the stores. It sends nothing. Sealed secrets are read whichever
// store takes the new ones, and so are those in OpenBao or Vault where it is
// configured.
func openStores(o *Options, metrics *openbao.Metrics, log *slog.Logger) (*credentialStores, error) {
	s := &credentialStores{}
	var takes credentials.Store = credentials.NewSealed(o.Keyset)
	readers := map[string]credentials.Store{schemas.StoreSealed: takes}
	if o.Vault != nil {
		var err error
		if s.vault, err = OpenVault(o, metrics, log); err != nil {
			return nil, err
		}
		readers[schemas.StoreOpenBao], readers[schemas.StoreVault] = s.vault, s.vault
		if o.credentialsStore() != schemas.StoreSealed {
			takes = s.vault
		}
	}
	s.all = credentials.NewStores(takes, nil, readers)
	return s, nil
}

// OpenVault makes the store in OpenBao or Vault; metrics and log may be nil.
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

// checkStores tries the store for the path of each account.
func checkStores(ctx context.Context, o Options) (out []CheckResult) {
	const name = "store"
	if o.Vault == nil {
		return nil
	}
	store, err := OpenVault(&o, nil, o.Logger)
	if err != nil {
		return []CheckResult{{name, CheckFailed, err.Error()}}
	}
	for _, a := range o.Accounts {
		if err := store.Ready(ctx, journal.ShopKey{Account: a.Name, Shop: checkedShop}); err != nil {
			out = append(out, CheckResult{name, CheckFailed, store.Address() + ": account " + a.Name + ": " + err.Error()})
		}
	}
	if out == nil {
		out = append(out, CheckResult{name, CheckOK, store.Address() + " takes secrets at " + o.Vault.Mount + "/invoicebox; nothing was stored"})
	}
	return out
}
