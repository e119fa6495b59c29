//! Which weights are published, where, and how are they told from others?
//!
//! Only what the publisher itself says is pinned. PyTorch puts the first eight hex digits of a file's SHA-256 into its
//! name (`torch.hub.load_state_dict_from_url(check_hash=True)` compares them), so those eight are what is compared here.
//!
//! Source: the `WeightsEnum`s of torchvision 0.21.

/// Weights that can be fetched by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// What `pull` calls them: the network of the zoo that they are for, `.v2` behind it for a later training of it.
    pub name: &'static str,
    /// The network of the zoo.
    pub net: &'static str,
    /// What the file is called by its publisher.
    pub file: &'static str,
    /// Where it lies, its name aside.
    pub base: &'static str,
    /// How the SHA-256 of the file begins, in hex.
    pub sha256: &'static str,
    /// Preprocessing that differs from what is usual for torchvision, as flags; empty if none.
    pub flags: &'static str,
}

impl Published {
    /// The whole address.
    pub fn url(&self) -> String {
        format!("{}{}", self.base, self.file)
    }
}

const TORCHVISION: &str = "https://download.pytorch.org/models/";

/// What networks that came from TensorFlow see: -1 to 1.
const SIGNED: &str = "--mean 0.5 --std 0.5";

const fn torchvision(name: &'static str, file: &'static str, sha256: &'static str) -> Published {
    Published { name, net: name, file, base: TORCHVISION, sha256, flags: "" }
}

const fn again(name: &'static str, net: &'static str, file: &'static str, sha256: &'static str) -> Published {
    Published { net, ..torchvision(name, file, sha256) }
}

/// All that is known.
pub const PUBLISHED: &[Published] = &[
    torchvision("alexnet", "alexnet-owt-7be5be79.pth", "7be5be79"),
    torchvision("vgg11", "vgg11-8a719046.pth", "8a719046"),
    torchvision("vgg11_bn", "vgg11_bn-6002323d.pth", "6002323d"),
    torchvision("vgg13", "vgg13-19584684.pth", "19584684"),
    torchvision("vgg13_bn", "vgg13_bn-abd245e5.pth", "abd245e5"),
    torchvision("vgg16", "vgg16-397923af.pth", "397923af"),
    torchvision("vgg16_bn", "vgg16_bn-6c64b313.pth", "6c64b313"),
    torchvision("vgg19", "vgg19-dcbb9e9d.pth", "dcbb9e9d"),
    torchvision("vgg19_bn", "vgg19_bn-c79401a0.pth", "c79401a0"),
    torchvision("squeezenet1_0", "squeezenet1_0-b66bff10.pth", "b66bff10"),
    torchvision("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    Published { flags: SIGNED, ..torchvision("googlenet", "googlenet-1378be20.pth", "1378be20") },
    Published {
        flags: SIGNED,
        ..torchvision("inception_v3", "inception_v3_google-0cc3c7bd.pth", "0cc3c7bd")
    },
    torchvision("resnet18", "resnet18-f37072fd.pth", "f37072fd"),
    torchvision("resnet34", "resnet34-b627a593.pth", "b627a593"),
    torchvision("resnet50", "resnet50-0676ba61.pth", "0676ba61"),
    again("resnet50.v2", "resnet50", "resnet50-11ad3fa6.pth", "11ad3fa6"),
    torchvision("resnet101", "resnet101-63fe2227.pth", "63fe2227"),
    again("resnet101.v2", "resnet101", "resnet101-cd907fc2.pth", "cd907fc2"),
    torchvision("resnet152", "resnet152-394f9c45.pth", "394f9c45"),
    again("resnet152.v2", "resnet152", "resnet152-f82ba261.pth", "f82ba261"),
    torchvision("resnext50_32x4d", "resnext50_32x4d-7cdf4587.pth", "7cdf4587"),
    again("resnext50_32x4d.v2", "resnext50_32x4d", "resnext50_32x4d-1a0047aa.pth", "1a0047aa"),
    torchvision("wide_resnet50_2", "wide_resnet50_2-95faca4d.pth", "95faca4d"),
    again("wide_resnet50_2.v2", "wide_resnet50_2", "wide_resnet50_2-9ba9bcbe.pth", "9ba9bcbe"),
    torchvision("densenet121", "densenet121-a639ec97.pth", "a639ec97"),
    torchvision("mobilenet_v2", "mobilenet_v2-b0353104.pth", "b0353104"),
    again("mobilenet_v2.v2", "mobilenet_v2", "mobilenet_v2-7ebf99e0.pth", "7ebf99e0"),
    torchvision("efficientnet_b0", "efficientnet_b0_rwightman-7f5810bc.pth", "7f5810bc"),
    torchvision("convnext_tiny", "convnext_tiny-983f1562.pth", "983f1562"),
];

/// The weights of this name.
pub fn published(name: &str) -> Option<&'static Published> {
    PUBLISHED.iter().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_network_and_every_digest_stands_in_its_file() {
        for known in PUBLISHED {
            assert!(ocellus_zoo::default_input(known.net).is_ok(), "{} is not in the zoo", known.net);
            assert!(known.file.ends_with(&format!("-{}.pth", known.sha256)), "{}", known.file);
            assert!(known.base.starts_with("https://") && known.base.ends_with('/'));
            assert_eq!(PUBLISHED.iter().filter(|other| other.name == known.name).count(), 1);
        }
    }
}
