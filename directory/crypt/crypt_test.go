package crypt

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
)

// samples are "geheim" as doveadm pw, slappasswd and crypt(3) of Debian 12 store it.
var samples = []string{
	`{PLAIN}geheim`, `{CLEAR}geheim`, `{cleartext}geheim`, `{PLAIN.b64}Z2VoZWlt`,
	`{SHA512-CRYPT}$6$7x2E6JvyDxirA5dl$Wedug5e1KoMTppR/V0zEQLLRFKjy4CoLoA69NDQqY20w8hQ4cUKNpupj/Om6nlXYBNprEQH2wwBimENsI/.Y./`,
	`{BLF-CRYPT}$2y$05$91NzA/a3tQ69cTXcBho9yOMZEi/5iwyNOuIYzP90W6Pa/InqoMGSG`,
	`{SSHA}H2IBz7rWAZvsJNT1Cl5G/81hjcdn2a0p`,
	`{SSHA256}P5mKDH59jB63Pqi3qPhQweWcY50ALUULrjS3LYTxz0z0MaAJ`,
	`{SSHA512}IIGNj2BPryQdDV/+XaQviY+cisFkMbU4gZHG6u6ca/hw4Mo+eGWy/x/s8MJOYpU195Myh0FEqYeed9J3rgwG7tH0fRg=`,
	`{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$D2uniyaaIjLYRUGA/w07dQ$OhGYKTOLhlOxzKkQ8WbsQxoCGfSZEDClrTW97RvdBgY`,
	`{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$9mAM/AbHWlKHuQogCIlg3w$Fer0cQvqaJOxzIm8bA2fmZrOIC/B4kcVZOEV8MTRY34`,
	`{PBKDF2}$1$ekQspolQ6aw.vd78$5000$8b056c2d2709d0a05fde2593b25ec84855a99691`,
	`{SCRAM-SHA-1}4096,VLXkgwZ/S1zPEC4d3iGo+A==,XlmR6pk/G1eh19Dazs+W20Tgt88=,jtHLtypHNXVysvT8YcbNDtIqIjQ=`,
	`{SCRAM-SHA-256}4096,WwCryB+hRUzILafriEy/WQ==,aObGuS94QLAvgtmbABgErGr5ICQcKkLFXbKwGoK0xcs=,+DkGxlziuCuS2NsxUMHWJDqSx80fTmIBdAno6eGmLtQ=`,
	`{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=`,
	`{SHA256}rdsPXngmyFfXN20b2bwzwMVEeQourJYUSoryKxKYyUA=`,
	`{SHA256.HEX}addb0f5e7826c857d7376d1bd9bc33c0c544790a2eac96144a8af22b1298c940`,
	`{SHA256}addb0f5e7826c857d7376d1bd9bc33c0c544790a2eac96144a8af22b1298c940`,
	`{SHA512}jYR+AdIrqpafcfo2K03iHJ4Tx4grzqE7pcaorg1x/IyXAMguAIemXIs3vSn1NnR/KMlnK+wcrndi0snza2AT8g==`,
	`{SMD5}HjXahDFbdfUyKM3PjrOnUO6y9os=`,
	`{MD5-CRYPT}$1$GY1aEQ29$MwdT4wwfQrM7ocrPjiB5t1`, `{MD5}$1$GY1aEQ29$MwdT4wwfQrM7ocrPjiB5t1`,
	`{SHA256-CRYPT}$5$5R14xYx.IdNObKDv$GxUATRzEOu9xOWGW/RnzCk8TTrHMFtlE/0pjnXaXg0D`,
	`{PLAIN-MD5}e8636ea013e682faf61f56ce1cb1ab5c`, `{LDAP-MD5}6GNuoBPmgvr2H1bOHLGrXA==`, `{MD5}6GNuoBPmgvr2H1bOHLGrXA==`,
	`{CRYPT}$2y$05$cNQ1O2gMsioF1.hXmBuy2ufQi/KuOz159VnrTlwts5Zr.SHoEoa7i`,
	`$2y$05$cNQ1O2gMsioF1.hXmBuy2ufQi/KuOz159VnrTlwts5Zr.SHoEoa7i`,
	`$y$j9T$F5Jx5fExrKuPp53xLKQ..1$iLMagHjBvrahXhlULvb9yW5faxBRfc3sREKM24WCe2C`,
	`$5$rounds=2000$saltsalt$kmucwnKMG5n4KLHSD6KfUKjNryO9cf6FjtowG98R.w8`,
}

func TestKnown(t *testing.T) {
	c := NewChecker()
	for _, stored := range samples {
		h, err := Parse(stored, "CRYPT")
		if err != nil {
			t.Errorf("%s: %v", stored, err)
			continue
		}
		for password, want := range map[string]bool{"geheim": true, "Geheim": false, "geheim ": false, "": false, "geheim\x00": false, "geheim\x00x": false} {
			if got, err := c.Matches(t.Context(), h, password); err != nil || got != want {
				t.Errorf("%s: %q matches: %v, %v", stored, password, got, err)
			}
		}
		if strings.Contains(stored, "SCRAM") {
			hash := directory.Hash(strings.TrimPrefix(h.Scheme(), "SCRAM-"))
			if k, ok := h.ScramKeys(hash); !ok || k.Iterations != 4096 {
				t.Errorf("%s has the keys %+v", stored, k)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for _, stored := range []string{
		"{", "{}", "{}x", "{PLAIN}", "{NOTHING}x", "{CRYPT}geheim", "{CRYPT}abOkmxXhjDb.Y", "geheim", "{SHA}x", "{SSHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=", "{SHA.x}AAAA",
		"{CRAM-MD5}f16f9cd57afad6931bff9508ef68ea2db1b62513b604cf995e4f882bed6d4f1a",
		"{PLAIN}" + strings.Repeat("x", MaxStored),
		// More than anybody may ask for.
		"$argon2id$v=19$m=10485760,t=1,p=1$D2uniyaaIjLYRUGA/w07dQ$OhGYKTOLhlOxzKkQ8WbsQxoCGfSZEDClrTW97RvdBgY",
		"$argon2id$v=19$m=65536,t=30000,p=1$D2uniyaaIjLYRUGA/w07dQ$OhGYKTOLhlOxzKkQ8WbsQxoCGfSZEDClrTW97RvdBgY",
		"$argon2id$v=19$m=65536,t=3,p=255$D2uniyaaIjLYRUGA/w07dQ$OhGYKTOLhlOxzKkQ8WbsQxoCGfSZEDClrTW97RvdBgY",
		"$argon2id$v=19$m=65536,t=3,p=1,m=99999999$D2uniyaaIjLYRUGA/w07dQ$OhGYKTOLhlOxzKkQ8WbsQxoCGfSZEDClrTW97RvdBgY",
		"$argon2id$v=19$m=1,t=3,p=1$D2uniyaaIjLYRUGA/w07dQ$OhGYKTOLhlOxzKkQ8WbsQxoCGfSZEDClrTW97RvdBgY",
		"$6$rounds=999999999$7x2E6JvyDxirA5dl$Wedug5e1KoMTppR/V0zEQLLRFKjy4CoLoA69NDQqY20w8hQ4cUKNpupj/Om6nlXYBNprEQH2wwBimENsI/.Y./",
		"$2y$31$91NzA/a3tQ69cTXcBho9yOMZEi/5iwyNOuIYzP90W6Pa/InqoMGSG",
		"$y$jHZ$F5Jx5fExrKuPp53xLKQ..1$iLMagHjBvrahXhlULvb9yW5faxBRfc3sREKM24WCe2C",
		"{PBKDF2}$1$ekQspolQ6aw.vd78$999999999$8b056c2d2709d0a05fde2593b25ec84855a99691",
		"{SCRAM-SHA-1}999999999,VLXkgwZ/S1zPEC4d3iGo+A==,XlmR6pk/G1eh19Dazs+W20Tgt88=,jtHLtypHNXVysvT8YcbNDtIqIjQ=",
		"{SCRAM-SHA-256}4096,VLXkgwZ/S1zPEC4d3iGo+A==,XlmR6pk/G1eh19Dazs+W20Tgt88=,jtHLtypHNXVysvT8YcbNDtIqIjQ=",
	} {
		h, err := Parse(stored, "CRYPT")
		if err == nil {
			t.Errorf("%.60s is taken, as %s", stored, h.Scheme())
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q is in the error %q", stored, err)
		}
	}
}

// What waits for memory ends with its context.
func TestMemory(t *testing.T) {
	c := NewChecker()
	if _, err := c.gate.Enter(t.Context(), directory.TotalMemory); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	h, err := Parse(samples[9], "")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Matches(ctx, h, "geheim"); ok || err == nil {
		t.Errorf("without memory: %v, %v", ok, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, stored := range samples {
		f.Add(stored)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		h, err := Parse(stored, "CRYPT")
		if err != nil {
			return
		}
		if h.memory > maxMemory || h.match == nil {
			t.Errorf("%q: %+v", stored, h)
		}
		if len(stored) < 40 {
			NewChecker().Matches(t.Context(), h, "geheim")
		}
	})
}
