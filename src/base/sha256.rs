//! SHA-256 (FIPS 180-4): digests of keys and of requests' bodies. No other crate of ours has one.

/// The length of a block in bytes.
const BLOCK: usize = 64;

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
const ROUNDS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

pub fn digest(bytes: &[u8]) -> [u8; 32] {
    // The first 32 bits of the fractional parts of the square roots of the first eight primes.
    let mut state =
        [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
    let (blocks, rest) = bytes.split_at(bytes.len() / BLOCK * BLOCK);
    blocks.chunks_exact(BLOCK).for_each(|block| compress(&mut state, block));

    // A one bit, zeroes, and the length in bits at the end of a block.
    let mut end = rest.to_vec();
    end.push(0x80);
    end.resize((end.len() + 8).next_multiple_of(BLOCK) - 8, 0);
    end.extend((bytes.len() as u64 * 8).to_be_bytes());
    end.chunks_exact(BLOCK).for_each(|block| compress(&mut state, block));

    let mut out = [0; 32];
    for (part, word) in out.chunks_exact_mut(4).zip(state) {
        part.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// The digest in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut words = [0u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for at in 16..64 {
        let (early, late) = (words[at - 15], words[at - 2]);
        let early = early.rotate_right(7) ^ early.rotate_right(18) ^ (early >> 3);
        let late = late.rotate_right(17) ^ late.rotate_right(19) ^ (late >> 10);
        words[at] = words[at - 16].wrapping_add(early).wrapping_add(words[at - 7]).wrapping_add(late);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (word, round) in words.into_iter().zip(ROUNDS) {
        let turned = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let chosen = (e & f) ^ (!e & g);
        let first = h.wrapping_add(turned).wrapping_add(chosen).wrapping_add(round).wrapping_add(word);
        let turned = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let second = turned.wrapping_add(majority);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
    }
    for (word, part) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The reference is coreutils.
    #[test]
    fn digests_agree_with_sha256sum() {
        let dir = std::path::Path::new("/tmp").join(format!("clinvk-sha256-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let text = |length: usize| (0..length).map(|at| (at * 7 + length) as u8).collect::<Vec<u8>>();
        let lengths: Vec<usize> = (0..=200).chain([1_000_003]).collect();
        let names: Vec<_> = lengths.iter().map(|length| dir.join(length.to_string())).collect();
        for (name, length) in names.iter().zip(&lengths) {
            fs::write(name, text(*length)).unwrap();
        }
        #[expect(clippy::disallowed_methods)] // the reference is a program
        let sums = std::process::Command::new("sha256sum").args(&names).output().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let sums = String::from_utf8(sums.stdout).unwrap();
        let theirs: Vec<&str> = sums.lines().map(|line| &line[..64]).collect();
        let ours: Vec<String> = lengths.iter().map(|length| hex(&text(*length))).collect();
        assert_eq!(ours, theirs);
    }
}
