package app

import (
	"errors"
	"fmt"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/schemas"
)

// check compares the settings with each other and with the content of their files.
func (o *Options) check() error {
	var errs []error
	wrong := func(setting string, value any, right string) {
		text := ""
		if value != nil {
			text = fmt.Sprint(value)
		}
		errs = append(errs, &config.Error{Setting: setting, Value: text, Want: right})
	}
	if len(o.Kafka.Brokers) == 0 {
		wrong("kafka-brokers", nil, "must be set: one or more host:port, separated by commas")
	}
	if o.Keyset == nil {
		wrong("keyset-file", nil, "must be set: the file that `keys create` wrote")
	}
	if len(o.Accounts) == 0 {
		wrong("partner-id", nil, "must be set, with --token-file; or accounts in the file given with --config")
	}
	if o.Concurrency < len(o.Accounts) {
		wrong("concurrency", o.Concurrency, fmt.Sprintf("must be at least one for each of the %d accounts", len(o.Accounts)))
	}
	const noLogin = "needs a way to log in: --vault-token-file, --vault-role-id-file, --vault-kubernetes-role or --vault-jwt-role"
	if o.credentialsStore() != schemas.StoreSealed && o.Vault == nil {
		wrong("credentials-store", o.CredentialsStore, noLogin)
	}
	for i, a := range o.Accounts {
		if a.CredentialsStore != "" && a.CredentialsStore != schemas.StoreSealed && o.Vault == nil {
			wrong(fmt.Sprintf("accounts[%d].credentials-store", i), a.CredentialsStore, noLogin)
		}
	}
	errs = append(errs, o.Worker.Check())
	errs = append(errs, checkAccounts(o.Accounts)...)
	if o.CredentialsEndpoint != nil {
		errs = append(errs, o.CredentialsEndpoint.check()...)
	}
	return errors.Join(errs...)
}

// checkAccounts refuses accounts that the API would count as one.
func checkAccounts(accounts []Account) []error {
	var errs []error
	for i, a := range accounts {
		for _, b := range accounts[:i] {
			switch {
			case a.Name == b.Name:
				errs = append(errs, &config.Error{Setting: fmt.Sprintf("accounts[%d].name", i), Value: a.Name, Want: "is taken by another account; every account needs a name of its own"})
			case a.PartnerID == b.PartnerID:
				errs = append(errs, &config.Error{Setting: fmt.Sprintf("accounts[%d].partner-id", i), Value: a.PartnerID, Want: fmt.Sprintf("is also that of account %q; two accounts with one partner id would share a limit without knowing", b.Name)})
			case a.Token().Equal(b.Token()):
				errs = append(errs, &config.Error{Setting: fmt.Sprintf("accounts[%d].token-file", i), Want: fmt.Sprintf("holds the token of account %q; two accounts with one token would share a limit without knowing", b.Name)})
			}
		}
	}
	return errs
}
