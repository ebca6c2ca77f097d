package bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"gocloud.dev/gcerrors"
)

// RequestError is what a store has against a request, with the mend.
type RequestError struct {
	At   Location
	What string // was being done
	Key  string
	Mend string
	err  error
}

func (f *RequestError) Error() string {
	what := strings.TrimSpace(f.What + " " + f.Key)
	return fmt.Sprintf("%s: %s: %s; %s", f.At, what, said(f.err), f.Mend)
}

func (f *RequestError) Unwrap() error { return f.err }

func fault(at Location, what, key string, err error) error {
	if err == nil {
		return nil
	}
	return &RequestError{at, what, key, mend(at, err), err}
}

// cause is the store's own error.
func cause(err error) error {
	if f, ok := errors.AsType[*RequestError](err); ok {
		return f.err
	}
	return err
}

// absent says that there is no object of that name, in a bucket that is there as far as can be told.
func absent(err error) bool {
	return gcerrors.Code(cause(err)) == gcerrors.NotFound && code(err) != "NoSuchBucket"
}

// code is an S3 server's word for what is wrong.
func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

// status is an S3 server's answer as HTTP has it; 0 where there was none.
func status(err error) int {
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

// definite says that asking again changes nothing.
func definite(err error) bool {
	if unsigned(err) {
		return true
	}
	if s := status(err); s >= 400 && s < 500 && !slices.Contains([]int{http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests}, s) {
		return true
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound, gcerrors.PermissionDenied, gcerrors.FailedPrecondition, gcerrors.InvalidArgument, gcerrors.Unimplemented:
		return true
	default:
		return false
	}
}

// unsigned says that there are no credentials to sign a request with, or no region to sign it for.
func unsigned(err error) bool {
	text := err.Error()
	return errors.Is(err, errNoRegion) || strings.Contains(text, "get credentials") || strings.Contains(text, "could not find default credentials") ||
		strings.Contains(text, "AccountName is required")
}

// mend says what the user can do.
func mend(at Location, err error) string {
	c := code(err)
	switch {
	case errors.Is(err, errNoRegion):
		return "set AWS_REGION, or add ?region=… to the URL"
	case unsigned(err):
		return credentials(at)
	case c == "NoSuchBucket":
		return "make the bucket " + at.url.Host + " first, or name one that is there"
	case c == "InvalidAccessKeyId", c == "XAdminUserNotFound", c == "SignatureDoesNotMatch":
		return "the store does not know that key, or the secret is another's: " + credentials(at)
	case c == "ExpiredToken", c == "InvalidToken", c == "TokenRefreshRequired":
		return "the session has ended: get new credentials"
	case c == "RequestTimeTooSkewed":
		return "this machine's clock and the store's differ by more than is allowed: set it, such as with timedatectl set-ntp true"
	case c == "PermanentRedirect", c == "AuthorizationHeaderMalformed", c == "IllegalLocationConstraintException":
		return "the bucket is in another region: set AWS_REGION to it"
	case c == "InvalidBucketName":
		return "name a bucket by its 3 to 63 letters, digits, dots and dashes"
	case c == "NotImplemented":
		return "this store lacks what tracer needs of it, objects that are only ever created (If-None-Match); write into a folder, and copy that"
	case c == "EntityTooLarge", c == "QuotaExceeded":
		return "make room in the store, or have its limit raised"
	case errors.Is(err, context.Canceled):
		return "run it again"
	}
	return mendOf(at, gcerrors.Code(err))
}

// mendOf goes by what all stores' errors have in common.
func mendOf(at Location, c gcerrors.ErrorCode) string {
	switch c {
	case gcerrors.PermissionDenied:
		return "the credentials may not do that here: they need to list, read and create objects, and no more"
	case gcerrors.NotFound:
		return "make the bucket " + at.url.Host + " first, or name one that is there"
	case gcerrors.InvalidArgument:
		return "see docs/usage.md for what a URL may hold"
	default:
		return "see whether the store can be reached and is well, and run it again: what was done stays done"
	}
}

// credentials is where they are looked for.
func credentials(at Location) string {
	switch at.url.Scheme {
	case "gs":
		return "set GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login"
	case "azblob":
		return "set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or az login"
	default:
		return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
	}
}

// said is the store's word, without the libraries' around it.
func said(err error) string {
	if errors.Is(err, errSlow) {
		return errSlow.Error() + " in time"
	}
	if unsigned(err) && !errors.Is(err, errNoRegion) {
		return "no credentials were found"
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return strings.TrimSuffix(e.ErrorCode()+": "+e.ErrorMessage(), ": ")
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err.Error()
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
