//! Private keys out of PEM, encrypted ones included.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

/// The key of a section that holds one; `None` if it is of no known form, or the password is wrong or missing.
pub(super) fn private_key(section: &Pem, password: Option<&str>) -> Option<PrivateKeyDer<'static>> {
    let contents = match section.headers().get("DEK-Info") {
        Some(method) => decrypt(method, section.contents(), password?.as_bytes())?,
        None => section.contents().to_vec(),
    };
    match section.tag() {
        "PRIVATE KEY" => Some(PrivatePkcs8KeyDer::from(contents).into()),
        "RSA PRIVATE KEY" => Some(PrivatePkcs1KeyDer::from(contents).into()),
        "EC PRIVATE KEY" => Some(PrivateSec1KeyDer::from(contents).into()),
        "ENCRYPTED PRIVATE KEY" => {
            let encrypted = EncryptedPrivateKeyInfoRef::try_from(&contents[..]).ok()?;
            let key = encrypted.decrypt(password?).ok()?;
            Some(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
        }
        _ => None,
    }
}

/// What OpenSSL has encrypted in the old way, which is told in a header: the name of the cipher and its first block.
fn decrypt(method: &str, contents: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let (cipher, iv) = method.split_once(',')?;
    let iv = unhex(iv.trim())?;
    match cipher.trim() {
        "AES-128-CBC" => decrypt_with::<Aes128, 16>(contents, password, &iv),
        "AES-192-CBC" => decrypt_with::<Aes192, 24>(contents, password, &iv),
        "AES-256-CBC" => decrypt_with::<Aes256, 32>(contents, password, &iv),
        "DES-EDE3-CBC" => decrypt_with::<TdesEde3, 24>(contents, password, &iv),
        _ => None,
    }
}

fn decrypt_with<C, const KEY_LEN: usize>(
    contents: &[u8],
    password: &[u8],
    iv: &[u8],
) -> Option<Vec<u8>>
where
    C: BlockCipherDecrypt + KeyInit,
    Decryptor<C>: KeyIvInit + InnerIvInit<Inner = C>,
{
    let key: [u8; KEY_LEN] = stretch(password, iv.get(..8)?);
    let cipher = Decryptor::<C>::new_from_slices(&key, iv).ok()?;
    let mut key = contents.to_vec();
    let len = cipher.decrypt_padded::<Pkcs7>(&mut key).ok()?.len();
    key.truncate(len);
    Some(key)
}

/// The key that belongs to a password there: digests of the one before, the password and the salt, in a row.
fn stretch<const LEN: usize>(password: &[u8], salt: &[u8]) -> [u8; LEN] {
    let mut key = [0; LEN];
    let mut last = Vec::new();
    for part in key.chunks_mut(16) {
        let mut digest = Md5::new();
        digest.update(&last);
        digest.update(password);
        digest.update(salt);
        last = digest.finalize().to_vec();
        part.copy_from_slice(&last[..part.len()]);
    }
    key
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect(),
    )
}
